package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dcmgate/gateway"
	"dcmgate/internal/machine"
	"dcmgate/spool"
)

// askGateway asks the gateway that runs on the data folder, if one does.
func (x *examiner) askGateway(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, x.o.Timeout)
	defer cancel()
	op, done, err := gateway.ConnectRunning(ctx, x.cfg)
	if err != nil {
		return
	}
	defer done()
	if s, err := op.Status(ctx); err == nil {
		x.status = &s
	}
}

// machine looks at the configuration, the machine, and the gateway that runs on it.
func (x *examiner) machine(_ context.Context, e *Examined) {
	x.configuration(e)
	x.dataFolder(e)
	x.clock(e)
	if x.status == nil {
		x.ports(e)
		return
	}
	x.gateway(e, x.status)
}

func (x *examiner) configuration(e *Examined) {
	name := x.cfg.Source
	if name == "" {
		name = "no file: the built-in defaults"
	}
	notes, err := x.cfg.CheckFiles()
	if err != nil {
		for _, err := range unjoined(err) {
			e.problem("config", err.Error(), "mend the file, or have the key name another one")
		}
	} else {
		e.ok("config", "%s is valid, and so are the files that it names", name)
	}
	for _, note := range slices.Concat(x.cfg.Notes, notes) {
		e.add("config", Warning, note, "")
	}
}

func unjoined(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

const (
	slowSync  = 30 * time.Millisecond
	syncTimes = 5
	syncBytes = 64 << 10
)

func (x *examiner) dataFolder(e *Examined) {
	dir := x.cfg.DataDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.add("disk", Note, dir+" is not there yet", "the gateway makes it when it first runs")
		return
	case errors.Is(err, syscall.ENOTDIR), err == nil && !info.IsDir():
		return // a mistake of the configuration, which has told it with its line
	case err != nil:
		e.problem("disk", err.Error(), "see to the folder's owner, and to those of the folders above it")
		return
	}
	disk, err := machine.FileSystemOf(dir)
	if err != nil {
		e.problem("disk", err.Error(), "see to the folder's owner and the disk")
		return
	}
	switch {
	case disk.ReadOnly:
		e.problem("disk", fmt.Sprintf("the file system of %s (%s) is read-only", dir, disk.Name), "look into the kernel's log: a disk with errors is often remounted so")
		return
	case disk.Free < x.cfg.Spool.MinFree:
		e.problem("disk", fmt.Sprintf("%s has %s free, less than spool.min_free of %s: senders are turned away", dir, gigabytes(disk.Free), gigabytes(x.cfg.Spool.MinFree)), "make room, or lower spool.min_free")
	case disk.Free < 2*x.cfg.Spool.MinFree:
		e.add("disk", Warning, fmt.Sprintf("%s has %s free, near spool.min_free of %s", dir, gigabytes(disk.Free), gigabytes(x.cfg.Spool.MinFree)), "make room before senders are slowed down")
	default:
		e.ok("disk", "%s: %s, %s of %s free", dir, disk.Name, gigabytes(disk.Free), gigabytes(disk.Total))
	}
	doubt(e, &disk)
	if x.status == nil { // else the gateway has read it when it started, and reads it daily
		unreadIndex(e, spool.CheckIndex(dir), int(uidOf(info)) == os.Geteuid())
	}
	x.owners(e, dir, info)
	x.sync(e, dir)
}

// unreadIndex tells of an index that cannot be read through, by the owner of the
// data folder or by somebody else, who may not and learns nothing of it.
func unreadIndex(e *Examined, err error, owner bool) {
	switch {
	case errors.Is(err, fs.ErrPermission) && !owner:
		e.add("disk", Note, "the index was not looked at: "+plainly(err), "run doctor as the owner of the folder")
	case err != nil:
		e.problem("disk", err.Error(), "")
	}
}

// doubt warns of a file system that keeps no promises.
func doubt(e *Examined, disk *machine.FileSystem) {
	if why, remedy := disk.Doubt(); why != "" {
		e.add("disk", Warning, why, remedy)
	}
}

// ownersLooked bounds how many files the owners are looked at of.
const ownersLooked = 10000

var errEnough = errors.New("enough")

// owners looks for what root, or who restored a copy, has left in the data
// folder: the gateway, which runs by the folder's owner, could not open it.
func (x *examiner) owners(e *Examined, dir string, folder fs.FileInfo) {
	looked := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir // run by somebody else, who sees less; files come and go
		}
		if looked++; looked > ownersLooked {
			return errEnough
		}
		if info, err := entry.Info(); err == nil && uidOf(info) != uidOf(folder) {
			return fmt.Errorf("%s belongs to %s, the folder to %s: the gateway cannot open it", path, userName(uidOf(info)), userName(uidOf(folder)))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		e.problem("disk", err.Error(), fmt.Sprintf("stop the gateway, chown -R %s: %s, and start it", userName(uidOf(folder)), dir))
	}
}

func uidOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return 0
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// sync measures how long a small durable write takes, by a file that is removed.
func (x *examiner) sync(e *Examined, dir string) {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		outcome, advice := Problem, "run doctor, and the gateway, as the owner of the folder"
		if x.status != nil { // the gateway can, as it runs
			outcome = Note
		}
		e.add("disk", outcome, "nothing can be written there by this user: "+plainly(err), advice)
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	for range syncTimes {
		begun := time.Now()
		_, err := f.Write(make([]byte, syncBytes))
		if err == nil {
			err = unix.Fdatasync(int(f.Fd()))
		}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			e.problem("disk", "there is no room: "+plainly(err), "make room")
			return
		}
		if err != nil {
			e.problem("disk", "writing fails: "+plainly(err), "look into the kernel's log: the disk may be failing")
			return
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	if median := took[syncTimes/2]; median > slowSync {
		e.add("disk", Warning, fmt.Sprintf("a durable write takes %s: each association receives at most %d instances a second", millis(median), time.Second/median), "a disk with a write cache that survives a power failure is ten times as fast; dcmgate bench measures more")
	} else {
		e.ok("disk", "a durable write takes %s", millis(median))
	}
}

// gigabytes writes a size in GB, below one in MB.
func gigabytes(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%d MB", n/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

func (x *examiner) clock(e *Examined) {
	switch synchronized, known := machine.ClockSynchronized(); {
	case !known:
		e.add("clock", Note, "whether the clock follows a time server is not known", "")
	case !synchronized:
		e.add("clock", Warning, "the clock follows no time server", "set up systemd-timesyncd or chrony: dates of rows, signatures with timeStamp, certificates and logs depend on it")
	default:
		e.ok("clock", "the clock follows a time server")
	}
}

// ports says whether a gateway could listen.
func (x *examiner) ports(e *Examined) {
	e.add("gateway", Note, "no gateway runs on "+x.cfg.DataDir, "")
	for key, address := range map[string]string{
		"dicom.listen": x.cfg.DICOM.Listen, "dicom.tls.listen": x.cfg.DICOM.TLS.Listen, "http.listen": x.cfg.HTTP.Listen, "public.listen": x.cfg.Public.Listen,
	} {
		if address == "" || strings.HasPrefix(address, "unix:") || !hasPort(address) {
			continue
		}
		l, err := net.Listen("tcp", address)
		switch {
		case err == nil:
			l.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			e.problem("ports", fmt.Sprintf("%s: something else listens at %s", key, address), "ss -ltnp shows what; stop it, or set another address")
		case errors.Is(err, syscall.EACCES):
			e.add("ports", Warning, fmt.Sprintf("%s: this user may not listen at %s, since the port is below 1024", key, address), "the service needs CAP_NET_BIND_SERVICE or its socket unit, see docs/install.md; or take port 11112")
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			e.problem("ports", fmt.Sprintf("%s: %s is no address of this machine", key, address), "write one that ip address shows, or 0.0.0.0 for all")
		default:
			e.problem("ports", fmt.Sprintf("%s: %s", key, plainly(err)), "set another address")
		}
	}
}

func hasPort(address string) bool {
	_, _, err := net.SplitHostPort(address)
	return err == nil
}

// gateway says how the one that runs is.
func (x *examiner) gateway(e *Examined, s *gateway.Status) {
	e.ok("gateway", "version %s runs since %s, %d associations in and %d out", s.Version, s.Started.Local().Format(time.DateTime), s.Associations.In, s.Associations.Out)
	if !s.Spool.Healthy {
		e.problem("gateway", "the spool is not healthy: "+s.Spool.Error, "see docs/troubleshooting.md")
	}
	if s.Spool.Pressure != "none" && s.Spool.Pressure != "" {
		e.add("gateway", Warning, "pressure "+s.Spool.Pressure+": room is running out", "see to destinations that do not take anything, and to the disk")
	}
	if s.Reload.Error != "" {
		e.add("gateway", Warning, fmt.Sprintf("it still runs with the configuration of %s: that of %s has mistakes", s.Reload.Taken.Local().Format(time.DateTime), s.Reload.At.Local().Format(time.DateTime)), s.Reload.Error)
	}
	for _, key := range s.Reload.NeedsRestart {
		e.add("gateway", Warning, "a change of "+key+" waits for a restart", "restart it when it suits")
	}
	for _, d := range s.Destinations {
		if !d.Configured && d.Pending+d.Parked > 0 {
			e.add("gateway", Warning, fmt.Sprintf("%d instances wait for the destination %s, which is not configured", d.Pending+d.Parked, d.Name), "configure it again, or give them up: dcmgate queue drop --destination "+d.Name)
		}
	}
	for _, i := range s.Incidents {
		if i.Kind == gateway.IncidentExpiry && !i.At.IsZero() { // a caller's; those of the gateway's own have no time, and are the configuration's
			e.add("gateway", Warning, fmt.Sprintf("the caller %s, last %s: %s", i.Subject, i.At.Local().Format(time.DateTime), i.What), "")
		}
	}
}

// delivery says how the gateway that runs gets on with a destination.
func (x *examiner) delivery(e *Examined, name string) {
	if x.status == nil {
		return
	}
	for _, d := range x.status.Destinations {
		if d.Name != name {
			continue
		}
		switch {
		case d.LastError != "" && d.LastErrorCount > 0:
			e.add("delivery", Warning, fmt.Sprintf("%s; %d wait, %d are parked; last failure %s: %s", d.State, d.Pending, d.Parked, d.LastErrorAt.Local().Format(time.DateTime), d.LastError), "")
		case d.Parked > 0:
			e.add("delivery", Warning, fmt.Sprintf("%s; %d wait, %d are parked", d.State, d.Pending, d.Parked), "dcmgate queue list --destination "+name+" --state parked tells why")
		default:
			e.ok("delivery", "%s; %d wait", d.State, d.Pending)
		}
	}
}
