package main

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// owner returns who owns a folder, and false if there is no such folder.
func owner(dir string) (uid, gid int, ok bool) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(stat.Uid), int(stat.Gid), true
}

// actAsOwner makes of root's process one of the owner of the data folder, for
// good: what root would write there, the gateway could not read afterwards.
// For everybody else it does nothing.
func actAsOwner(dataDir string) error {
	uid, gid, ok := owner(dataDir)
	if !ok || uid == 0 || os.Geteuid() != 0 {
		return nil
	}
	if err := syscall.Setgroups(groupsOf(uid)); err != nil {
		return fmt.Errorf("act as the owner of %s: %w", dataDir, err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("act as the owner of %s: %w", dataDir, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("act as the owner of %s: %w", dataDir, err)
	}
	return nil
}

// groupsOf returns the groups of a user, none for one that is not known.
func groupsOf(uid int) []int {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return nil
	}
	names, err := u.GroupIds()
	if err != nil {
		return nil
	}
	var groups []int
	for _, name := range names {
		if gid, err := strconv.Atoi(name); err == nil {
			groups = append(groups, gid)
		}
	}
	return groups
}

// refuseForeign keeps root from running a gateway on the data folder of
// somebody else, who could not do so any more afterwards.
func refuseForeign(dataDir string) error {
	uid, _, ok := owner(dataDir)
	if !ok || uid == 0 || os.Geteuid() != 0 {
		return nil
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return usageError{fmt.Errorf("data_dir: %s belongs to %s, not to root; run the gateway as %[2]s (systemctl start dcmgate does), or give root the folder and all in it with chown -R", dataDir, name)}
}
