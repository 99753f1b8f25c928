package machine

import (
	"strings"
	"testing"
)

// The numbers are those of statfs(2) and of linux/magic.h.
func TestFileSystemsThatAreDoubted(t *testing.T) {
	for number, want := range map[uint32]string{
		0x6969: "nfs is another machine's", 0xff534d42: "cifs is another", 0xfe534d42: "smb2 is another", 0x01021997: "9p is another", 0x00c36400: "ceph is another",
		0x01021994: "tmpfs is kept in memory", 0xef53: "", 0x58465342: "", 0x9123683e: "", 0x794c7630: "",
	} {
		f, known := kinds[number]
		why, remedy := f.Doubt()
		if !known || !strings.HasPrefix(why, want) || (want == "") != (why == "") || (why == "") != (remedy == "") {
			t.Errorf("%#x: known %v, %q, %q; want %q", number, known, why, remedy, want)
		}
	}
}

func TestFileSystemOf(t *testing.T) {
	if f, err := FileSystemOf(t.TempDir()); err != nil || f.Name == "" || f.Total <= 0 || f.ReadOnly {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := FileSystemOf(t.TempDir() + "/missing"); err == nil {
		t.Error("a folder that is not there was described")
	}
}
