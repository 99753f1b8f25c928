package peertest

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Database is a server of Debian's packages with a database named gateway, for the test alone.
type Database struct {
	t       testing.TB
	start   func() *Process
	ready   func() bool
	stop    syscall.Signal
	process *Process

	Kind    string // postgres or mysql
	Address string // host:port
	Admin   string // data source name of its administrator
	client  func(account, password, query string) []string
}

// unprivileged is an account that servers are run as which refuse to be root's.
func unprivileged(t testing.TB) (credential *syscall.Credential, home string) {
	t.Helper()
	home, err := os.MkdirTemp("", "dcmgate-db-") // t.TempDir is below a folder that only its owner enters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if os.Getuid() != 0 {
		return nil, home
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(home, uid, gid); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, home
}

func runAs(t testing.TB, credential *syscall.Credential, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out)
	}
}

// postgresProgram finds a program of the server's package, which Debian keeps out of PATH.
func postgresProgram(t testing.TB, name string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		Missing(t, "postgresql is not installed; `make test-deps` installs it")
	}
	return found[len(found)-1]
}

// Postgres starts a PostgreSQL server.
func Postgres(t testing.TB) *Database {
	t.Helper()
	initdb, server := postgresProgram(t, "initdb"), postgresProgram(t, "postgres")
	psql := Require(t, "psql")
	credential, home := unprivileged(t)
	data := filepath.Join(home, "data")
	runAs(t, credential, home, initdb, "-D", data, "-U", "admin", "-A", "trust", "-N", "--locale=C.UTF-8", "-E", "UTF8")
	hba := "host all admin 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		t.Fatal(err)
	}
	address := Address(t)
	_, port, _ := strings.Cut(address, ":")
	d := &Database{t: t, Kind: "postgres", Address: address, stop: syscall.SIGQUIT, Admin: "postgres://admin@" + address + "/gateway"}
	d.start = func() *Process {
		return start(t, []string{"TZ=UTC"}, credential, server, "-D", data, "-p", port, "-k", home, "-c", "listen_addresses=127.0.0.1")
	}
	d.client = func(account, password, query string) []string {
		return []string{psql, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", query, "postgres://" + url.UserPassword(account, password).String() + "@" + address + "/gateway"}
	}
	template := "postgres://admin@" + address + "/template1"
	d.ready = func() bool {
		return exec.Command(psql, "-X", "-c", "SELECT 1", template).Run() == nil
	}
	d.Start()
	if out, status := Run(t, nil, psql, "-X", "-c", "CREATE DATABASE gateway", template); status != 0 {
		t.Fatal(out)
	}
	return d
}

// MariaDB starts a MariaDB server.
func MariaDB(t testing.TB) *Database {
	t.Helper()
	server, install, client := Require(t, "mariadbd"), Require(t, "mariadb-install-db"), Require(t, "mariadb")
	credential, home := unprivileged(t)
	data := filepath.Join(home, "data")
	// A server that starts removes what it takes for its own temporary tables, and others' where they share the folder.
	tmp := "--tmpdir=" + home
	runAs(t, credential, home, install, "--no-defaults", "--datadir="+data, tmp, "--auth-root-authentication-method=normal", "--skip-test-db")
	address := Address(t)
	_, port, _ := strings.Cut(address, ":")
	d := &Database{t: t, Kind: "mysql", Address: address, stop: syscall.SIGKILL, Admin: "mysql://root@" + address + "/gateway"}
	socket := filepath.Join(home, "socket")
	d.start = func() *Process {
		return start(t, []string{"TZ=UTC"}, credential, server, "--no-defaults", "--datadir="+data, tmp, "--port="+port, "--socket="+socket,
			"--bind-address=127.0.0.1", "--pid-file="+filepath.Join(home, "pid"), "--innodb-buffer-pool-size=64M", "--skip-name-resolve")
	}
	d.client = func(account, password, query string) []string {
		return []string{client, "--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", account, "--password=" + password, "--default-character-set=utf8mb4", "-N", "-B", "-e", query, "gateway"}
	}
	run := func(query string) ([]byte, error) {
		return exec.Command(client, "--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", "root", "-e", query).CombinedOutput()
	}
	d.ready = func() bool {
		_, err := run("SELECT 1")
		return err == nil
	}
	d.Start()
	// The unprivileged root account is for the loopback name; names are not resolved.
	if out, err := run("CREATE DATABASE gateway CHARACTER SET latin1; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return d
}

// Start starts the server, again after Stop.
func (d *Database) Start() {
	d.t.Helper()
	d.process = d.start()
	Eventually(d.t, time.Minute, d.process.name+" answers", func() bool {
		select {
		case <-d.process.exited:
			d.t.Fatalf("%s ended: %s", d.process.name, d.process.Output())
		default:
		}
		return d.ready()
	})
}

// Stop ends the server at once, as a loss of power would: what is not durable is gone.
func (d *Database) Stop() {
	d.t.Helper()
	_ = d.process.Signal(d.stop)
	if _, err := d.process.Wait(2 * time.Minute); err != nil {
		d.t.Fatal(err)
	}
}

// Query runs a statement with the server's own command line client and returns what that prints, a row a line.
func (d *Database) Query(account, password, query string) (string, error) {
	args := d.client(account, password, query)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}
