package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxDropFolders = 32
	// dropWorkers is how many files of a folder are taken at once: as many as a disk makes durable faster together.
	dropWorkers = 4
	// maxDropFile bounds what may be configured: the longest value of PS3.5 7.1.1 is 4 GiB, and a data set has several.
	maxDropFile = 1 << 40
)

// DropFolder is a folder whose files are taken in.
type DropFolder struct {
	Name           string
	Folder         string // absolute
	Images         bool   // it takes images that are not DICOM in place of DICOM files
	CallingAETitle string // that instances count as coming from
	Keep           bool   // files that were taken, in Done
	Done           string // "": Folder/done
	Rejected       string // what is not taken goes there; "": Folder/rejected
	Quiet          time.Duration
	Rescan         time.Duration
	Patience       time.Duration
	MaxSize        int64 // bytes
}

func (v *validator) dropFolders(raws []rawDropFolder, cfg *Config) (list []DropFolder) {
	if len(raws) > maxDropFolders {
		v.fail(raws[maxDropFolders].at, "at most %d folders are watched", maxDropFolders)
	}
	for i := range raws {
		raw := &raws[i]
		d := DropFolder{
			Name:     parsed(v, raw.Name, parseName),
			Folder:   v.folder(raw.Folder, true),
			Images:   oneOf(v, raw.Takes, "dicom", "images") == "images",
			Keep:     oneOf(v, raw.After, "delete", "keep") == "keep",
			Done:     v.folder(raw.Done, false),
			Rejected: v.folder(raw.Rejected, false),
			Quiet:    v.duration(raw.Quiet, 100*time.Millisecond, time.Hour),
			Rescan:   v.duration(raw.Rescan, time.Second, time.Hour),
			Patience: v.duration(raw.Patience, time.Second, 7*24*time.Hour),
			MaxSize:  v.size(raw.MaxSize, 1<<10, maxDropFile),
		}
		if d.Done != "" && !d.Keep {
			v.fail(raw.Done.at, "is where files are kept, which after: keep asks for")
		}
		v.dropTargets(raw, &d)
		v.dropPlace(raw, &d, list, cfg)
		if d.Images {
			v.dropImages(raw, cfg)
		} else {
			d.CallingAETitle = parsed(v, raw.CallingAETitle, parseAETitle)
			v.dropCaller(raw, &d, cfg)
		}
		list = append(list, d)
	}
	return list
}

// folder takes the absolute path of a folder.
func (v *validator) folder(raw value, needed bool) string {
	path := v.text(raw, 4096)
	switch {
	case path == "" && needed:
		v.fail(raw.at, "a folder is needed, such as /srv/dcmgate/drop")
	case path != "" && !filepath.IsAbs(path):
		v.fail(raw.at, "%q is not an absolute path", path)
	case path != "":
		return filepath.Clean(path)
	}
	return path
}

// dropTargets checks the folders that files are moved to.
func (v *validator) dropTargets(raw *rawDropFolder, d *DropFolder) {
	if d.Rejected != "" && (d.Rejected == d.Folder || d.Rejected == d.Done) {
		v.fail(raw.Rejected.at, "%s is another folder's place already", d.Rejected)
	}
	if d.Done != "" && d.Done == d.Folder {
		v.fail(raw.Done.at, "%s is the watched folder itself", d.Done)
	}
}

// dropPlace checks that a folder has nothing to do with others: what is moved within one must not come into another, and
// the gateway's own files are nobody's to drop.
func (v *validator) dropPlace(raw *rawDropFolder, d *DropFolder, before []DropFolder, cfg *Config) {
	if d.Folder == "" {
		return
	}
	for i, other := range before {
		if other.Name == d.Name && d.Name != "" {
			v.fail(raw.Name.at, "name %s is already drop[%d]", d.Name, i)
		}
		for _, path := range []string{d.Folder, d.Done, d.Rejected} {
			for _, theirs := range []string{other.Folder, other.Done, other.Rejected} {
				if path != "" && theirs != "" && (path == d.Folder || theirs == other.Folder) && overlap(path, theirs) {
					v.fail(raw.Folder.at, "%s and %s of drop[%d] are within each other; each folder needs a place of its own", path, theirs, i)
					return
				}
			}
		}
	}
	for _, own := range []struct{ key, path string }{{"data_dir", cfg.DataDir}, {"rows.files.export", cfg.Rows.Export}, {"images.export", cfg.Images.Export}} {
		if absolute, err := filepath.Abs(own.path); own.path != "" && err == nil && overlap(d.Folder, absolute) {
			v.fail(raw.Folder.at, "%s and %s (%s) are within each other; the folder needs a place of its own", d.Folder, own.key, own.path)
		}
	}
}

// overlap tells whether one folder is the other or below it.
func overlap(a, b string) bool { return below(a, b) || below(b, a) }

func below(a, b string) bool {
	return a == b || strings.HasPrefix(a, strings.TrimSuffix(b, "/")+"/")
}

// dropCaller checks that who the instances count as coming from may store. Somebody who is not under peers may: the folder
// is the permission.
func (v *validator) dropCaller(raw *rawDropFolder, d *DropFolder, cfg *Config) {
	known, stores := false, false
	for _, p := range cfg.Peers {
		if p.AETitle == d.CallingAETitle {
			known, stores = true, stores || p.Allows(RightStore)
		}
	}
	if known && !stores {
		v.fail(raw.CallingAETitle.at, "%s is under peers and may not store; add store to its allow, or use another AE title", d.CallingAETitle)
	}
}

// dropImages checks what a folder of images needs.
func (v *validator) dropImages(raw *rawDropFolder, cfg *Config) {
	if cfg.Images.Address == "" {
		v.fail(raw.Takes.at, "images need images.address")
	}
	if raw.CallingAETitle.Text != "" {
		v.fail(raw.CallingAETitle.at, "is for DICOM files; images have none")
	}
}

// DropNotes looks at the drop folders as they are now and says what would keep files from being taken, one sentence each.
func (c *Config) DropNotes() (notes []string) {
	for i, d := range c.Drop {
		for _, f := range []struct {
			key, path string
			inside    bool // is made when it is needed
		}{
			{"folder", d.Folder, false},
			{"done", d.Done, below(d.Done, d.Folder)},
			{"rejected", d.Rejected, below(d.Rejected, d.Folder)},
		} {
			if f.path == "" || f.inside {
				continue
			}
			if note := folderNote(f.path, d.Folder); note != "" {
				notes = append(notes, fmt.Sprintf("drop[%d].%s: %s", i, f.key, note))
			}
		}
	}
	return notes
}

func folderNote(path, watched string) string {
	var st, at unix.Stat_t
	err := unix.Stat(path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path + " does not exist yet; make it, or mount it"
	case err != nil:
		return fmt.Sprintf("%s: %v", path, err)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return path + " is not a folder"
	case unix.Access(path, unix.R_OK|unix.W_OK|unix.X_OK) != nil:
		return path + " may not be read, written and entered by who runs this command; the user of dcmgate needs all three"
	case st.Mode&0o002 != 0 && st.Mode&unix.S_ISVTX == 0:
		return path + " may be written by everybody on this machine: whoever can may have instances taken in; use a group"
	case unix.Stat(watched, &at) == nil && at.Dev != st.Dev:
		return path + " is on another file system than the watched folder: files are copied there instead of renamed"
	}
	return ""
}
