package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"dcmgate/audit"
	"dcmgate/dicom"
)

// invoker is the user ID of who has run the program, which may since have become the owner of the data directory.
var invoker = os.Getuid()

// invokerHeader tells the gateway who uses a command, beside whom the system says it is: the owner of the data directory,
// mostly. Whoever can connect could say anything; they own the audit trail, too.
const invokerHeader = "Dcmgate-Invoker"

// invokerName is who has run the program: the one who called sudo, if it was run by it.
func invokerName() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	name, _, _ := strings.Cut(userOf(invoker).UserID, "@")
	return name
}

// named has requests over the control socket carry who uses the command.
func named(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get(invokerHeader); name != "" {
			p := operatorOf(r.Context())
			p.UserName = name
			r = r.WithContext(context.WithValue(r.Context(), operatorKey{}, p))
		}
		h.ServeHTTP(w, r)
	})
}

// operatorKey is the key of a context's value: the audit.Participant who asks.
type operatorKey struct{}

// withOperator remembers who has connected to the control socket.
func withOperator(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, operatorKey{}, userOf(peerOf(conn)))
}

// peerOf is the user ID of the process at the other end of a Unix socket, -1 if it cannot be told.
func peerOf(conn net.Conn) int {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return -1
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1
	}
	uid := -1
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	return uid
}

// userOf is a person by user ID, named as PS3.15 A.5.2.1 wants it.
func userOf(uid int) audit.Participant {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	name := "uid " + strconv.Itoa(uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	return audit.Participant{UserID: name + "@" + host, Address: host}
}

func operatorOf(ctx context.Context) audit.Participant {
	if p, ok := ctx.Value(operatorKey{}).(audit.Participant); ok {
		return p
	}
	return localOperator()
}

// localOperator is who uses a command that finds no gateway running.
func localOperator() audit.Participant {
	p := userOf(os.Getuid())
	p.UserName = invokerName()
	return p
}

// operator is o, telling of what is done by it.
func (a *auditor) operator(o Operator) Operator {
	if a == nil {
		return o
	}
	return auditedOperator{o, a}
}

// auditedOperator tells of what changes something.
type auditedOperator struct {
	Operator
	auditor *auditor
}

// done tells of an operation, on a study or on all.
func (o auditedOperator) done(ctx context.Context, kind audit.CodedValue, what string, err error) {
	outcome := audit.Success
	if err != nil {
		outcome, what = audit.SeriousFailure, what+": "+err.Error()
	}
	o.auditor.alert(kind, outcome, "file:"+o.auditor.directory, what, operatorOf(ctx))
}

// Retry implements [Operator].
func (o auditedOperator) Retry(ctx context.Context, f JobFilter, reason string) (Changed, error) {
	c, err := o.Operator.Retry(ctx, f, reason)
	o.done(ctx, audit.RestrictedFunction, fmt.Sprintf("queue retry of %s: %d jobs", f.words(), c.Count), err)
	return c, err
}

// Drop implements [Operator].
func (o auditedOperator) Drop(ctx context.Context, f JobFilter, reason string) (Changed, error) {
	c, err := o.Operator.Drop(ctx, f, reason)
	o.done(ctx, audit.RestrictedFunction, fmt.Sprintf("queue drop of %s: %d jobs", f.words(), c.Count), err)
	return c, err
}

// words are what a filter selects.
func (f JobFilter) words() string {
	var list []string
	for _, part := range []struct{ name, value string }{
		{"destination", f.Destination}, {"state", f.State}, {"study", string(f.Study)}, {"instance", string(f.Instance)}, {"code", f.Code},
	} {
		if part.value != "" {
			list = append(list, part.name+" "+part.value)
		}
	}
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, ", ")
}

// RebuildViews implements [Operator].
func (o auditedOperator) RebuildViews(ctx context.Context, name string, progress func(studies int64)) error {
	err := o.Operator.RebuildViews(ctx, name, progress)
	o.done(ctx, audit.RestrictedFunction, "views rebuild of "+name, err)
	return err
}

// Restore implements [Operator].
func (o auditedOperator) Restore(ctx context.Context, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error) {
	r, err := o.Operator.Restore(ctx, rq, progress)
	what := fmt.Sprintf("restore of study %s: %d instances", rq.Study, r.Restored)
	if r.Sent != nil {
		what += fmt.Sprintf(", %d sent to %s", r.Sent.Completed, rq.To)
	}
	o.done(ctx, audit.RestrictedFunction, what, err)
	return r, err
}

// RevokeLinks implements [Operator].
func (o auditedOperator) RevokeLinks(ctx context.Context, study dicom.UID) error {
	err := o.Operator.RevokeLinks(ctx, study)
	what := "links revoked: all"
	if study != "" {
		what = "links revoked: study " + string(study)
	}
	o.done(ctx, audit.ObjectSecurity, what, err)
	return err
}

// WithdrawImage implements [ImageOperator].
func (o auditedOperator) WithdrawImage(ctx context.Context, id, reason string) error {
	err := o.Operator.WithdrawImage(ctx, id, reason)
	o.done(ctx, audit.RestrictedFunction, "images withdraw", err)
	return err
}

// Reload implements [Operator]. What has changed is told by the gateway; here it is who has asked for it.
func (o auditedOperator) Reload(ctx context.Context) (Reloaded, error) {
	r, err := o.Operator.Reload(ctx)
	o.done(ctx, audit.RestrictedFunction, "reload", err)
	return r, err
}
