package dropfolder

import (
	"sync"

	"github.com/fsnotify/fsnotify"
)

// hints tell that something may have come into a folder. They are only ever a reason to look.
type hints struct {
	wake    chan struct{}
	watcher *fsnotify.Watcher // nil while there is none
	folders map[string]struct{}
	err     error // why not every folder is watched
	ended   sync.WaitGroup
}

func newHints() *hints { return &hints{wake: make(chan struct{}, 1), folders: map[string]struct{}{}} }

// add watches a folder by its absolute path. Where that cannot be, rescans find what comes into it.
func (h *hints) add(folder string) {
	if _, known := h.folders[folder]; known || len(h.folders) >= maxWatches {
		return
	}
	if h.watcher == nil {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			h.err = err
			return
		}
		h.watcher = w
		h.ended.Go(func() { h.listen(w) })
	}
	if err := h.watcher.Add(folder); err != nil {
		h.err = err
		return
	}
	h.folders[folder] = struct{}{}
}

// listen turns notifications into hints. An overflow of the kernel's queue is one, too.
func (h *hints) listen(w *fsnotify.Watcher) {
	events, failures := w.Events, w.Errors
	for events != nil || failures != nil {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if e.Has(fsnotify.Create) || e.Has(fsnotify.Write) || e.Has(fsnotify.Chmod) {
				h.hint()
			}
		case _, ok := <-failures:
			if !ok {
				failures = nil
			} else {
				h.hint()
			}
		}
	}
}

func (h *hints) hint() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// reset forgets all watches. They come back as folders are walked, which is how removed and replaced folders are dealt with.
func (h *hints) reset() {
	if h.watcher != nil {
		h.watcher.Close()
		h.ended.Wait()
	}
	h.watcher, h.err = nil, nil
	clear(h.folders)
}
