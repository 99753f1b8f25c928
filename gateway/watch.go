package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How the files of the configuration are watched. Notifications make it quick;
// since they can get lost, or not be had (a network file system, a symbolic link
// somewhere on the way), the files are looked at from time to time as well.
const (
	lookEvery = 10 * time.Second
	// settleTime is how long the files have to stay as they are before they are read: whoever writes one in place, or a
	// certificate and then its key, is given the time to finish.
	settleTime = 500 * time.Millisecond
)

// follow has the configuration taken again when its file, or one that it names,
// has changed and when the process is told to, until ctx ends.
func (g *Gateway) follow(ctx context.Context) error {
	notifications, directories := g.watcher()
	if directories != nil {
		defer directories.Close()
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		watch(directories, g.reloads.watched())
		select {
		case <-ctx.Done():
			return nil
		case <-g.hangups:
			_, _ = g.Reload("SIGHUP") // it logs what has become of it
			continue
		case <-notifications:
		case <-tick.C:
		}
		if g.reloads.changed() && g.settle(ctx) {
			_, _ = g.Reload("a file has changed")
		}
	}
}

// watcher makes what notifies of changes in directories; nil if the system lets
// nobody have it.
func (g *Gateway) watcher() (<-chan fsnotify.Event, *fsnotify.Watcher) {
	if g.settings().Source == "" {
		return nil, nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		g.log.Warn("no notifications of changed files; they are looked at from time to time", "every", lookEvery, "error", err)
		return nil, nil
	}
	go func() {
		for range w.Errors { // an overflow; the next look makes up for it
		}
	}()
	return w.Events, w
}

// watch asks for notifications from the directories of the files: a file that is
// replaced has no name to watch.
func watch(w *fsnotify.Watcher, files []string) {
	if w == nil {
		return
	}
	wanted := directoriesOf(files)
	for _, dir := range w.WatchList() {
		if !slices.Contains(wanted, dir) {
			_ = w.Remove(dir)
		}
	}
	for _, dir := range wanted {
		_ = w.Add(dir) // again, too: it may have been replaced. One that cannot be watched is looked at.
	}
}

// directoriesOf are those that hold the files, and those that hold what symbolic
// links lead to.
func directoriesOf(files []string) (dirs []string) {
	for _, file := range files {
		for _, path := range []string{file, resolved(file)} {
			if dir := filepath.Dir(path); !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

func resolved(file string) string {
	if path, err := filepath.EvalSymlinks(file); err == nil {
		return path
	}
	return file
}

// settle waits until the files stay as they are; false: ctx has ended.
func (g *Gateway) settle(ctx context.Context) bool {
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	for last := stampsOf(g.reloads.watched()); ; {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		now := stampsOf(g.reloads.watched())
		if now == last {
			return true
		}
		last = now
		timer.Reset(settleTime)
	}
}

// stampOf changes when the file does: its content, its owner or who may
// read it.
func stampOf(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	stamp := fmt.Sprint(info.ModTime().UnixNano(), info.Size(), info.Mode())
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		stamp += fmt.Sprint(" ", st.Dev, st.Ino, st.Ctim.Nano())
	}
	return stamp
}

func stampsOf(files []string) (stamps string) {
	for _, file := range files {
		stamps += stampOf(file) + "\n"
	}
	return stamps
}

// watchedFiles are the configuration's own file and those that it names.
func (c *Config) watchedFiles() []string {
	if c.Source == "" {
		return nil
	}
	files := []string{c.Source}
	for _, f := range c.raw.namedFiles() {
		if path, err := f.secret.path(); err == nil && !slices.Contains(files, path) {
			files = append(files, path)
		}
	}
	return files
}
