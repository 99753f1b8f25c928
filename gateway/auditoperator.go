package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"dcmgate/audit"
	"dcmgate/dicom"
	"dcmgate/images"
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

// uidKey is the key of a context's value: the user ID of the process that is connected to the control socket.
type uidKey struct{}

// withOperator remembers who has connected to the control socket.
func withOperator(ctx context.Context, conn net.Conn) context.Context {
	uid := peerOf(conn)
	return context.WithValue(context.WithValue(ctx, uidKey{}, uid), operatorKey{}, userOf(uid))
}

// ownersOnly lets the owner of the data directory in, and root. The modes of socket and directory keep all others out; this is
// for when somebody has changed them.
func (a *auditor) ownersOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if uid, ok := r.Context().Value(uidKey{}).(int); ok && uid != 0 && uid != os.Geteuid() {
			who := userOf(uid)
			a.again("control socket", onSocket, audit.RestrictedFunction, who.UserID, "control socket: refused", who)
			answerError(w, http.StatusForbidden, errors.New("only the owner of the data folder and root may ask; use sudo -u, and set the mode of the folder to 0700 again"))
			return
		}
		h.ServeHTTP(w, r)
	})
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
	return auditedOperator{o, a}
}

// auditedOperator tells of what changes something.
type auditedOperator struct {
	Operator
	auditor *auditor
}

// done tells of an operation.
func (o auditedOperator) done(ctx context.Context, e *AuditEvent, kind audit.CodedValue, what string, err error) {
	o.auditor.operated(ctx, e, kind, what, err)
}

// operated tells of what somebody has done by a command.
func (a *auditor) operated(ctx context.Context, e *AuditEvent, kind audit.CodedValue, what string, err error) {
	now := a.trail()
	if now == nil {
		return
	}
	outcome := audit.Success
	if err != nil {
		outcome, what = audit.SeriousFailure, what+": "+err.Error()
	}
	a.alert(e, kind, outcome, "file:"+now.directory, what, operatorOf(ctx))
}

// Retry implements [Operator].
func (o auditedOperator) Retry(ctx context.Context, f JobFilter, reason string) (Changed, error) {
	c, err := o.Operator.Retry(ctx, f, reason)
	o.done(ctx, onRetry, audit.RestrictedFunction, fmt.Sprintf("queue retry of %s: %d jobs", f.words(), c.Count), err)
	return c, err
}

// Drop implements [Operator].
func (o auditedOperator) Drop(ctx context.Context, f JobFilter, reason string) (Changed, error) {
	c, err := o.Operator.Drop(ctx, f, reason)
	o.done(ctx, onDrop, audit.RestrictedFunction, fmt.Sprintf("queue drop of %s: %d jobs", f.words(), c.Count), err)
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
	if f.Superseded {
		list = append(list, "superseded versions too")
	}
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, ", ")
}

// RebuildViews implements [Operator].
func (o auditedOperator) RebuildViews(ctx context.Context, name string, progress func(studies int64)) error {
	err := o.Operator.RebuildViews(ctx, name, progress)
	o.done(ctx, onViewsRebuild, audit.RestrictedFunction, "views rebuild of "+name, err)
	return err
}

// Restore implements [Operator].
func (o auditedOperator) Restore(ctx context.Context, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error) {
	r, err := o.Operator.Restore(ctx, rq, progress)
	what := fmt.Sprintf("restore of study %s: %d instances", rq.Study, r.Restored)
	if r.Sent != nil {
		what += fmt.Sprintf(", %d sent to %s", r.Sent.Completed, rq.To)
	}
	o.done(ctx, onRestore, audit.RestrictedFunction, what, err)
	return r, err
}

// RevokeLinks implements [Operator].
func (o auditedOperator) RevokeLinks(ctx context.Context, study dicom.UID) error {
	err := o.Operator.RevokeLinks(ctx, study)
	what := "links revoked: all"
	if study != "" {
		what = "links revoked: study " + string(study)
	}
	o.done(ctx, onRevoke, audit.ObjectSecurity, what, err)
	return err
}

// WithdrawImage implements [ImageOperator].
func (o auditedOperator) WithdrawImage(ctx context.Context, id, reason string) error {
	err := o.Operator.WithdrawImage(ctx, id, reason)
	o.done(ctx, onImageWithdraw, audit.RestrictedFunction, "images withdraw", err)
	return err
}

// Reload implements [Operator]. What has changed is told by the gateway; here it is who has asked for it.
func (o auditedOperator) Reload(ctx context.Context) (Reloaded, error) {
	r, err := o.Operator.Reload(ctx)
	o.done(ctx, onReloadAsked, audit.RestrictedFunction, "reload", err)
	return r, err
}

// Verify implements [Operator].
func (o auditedOperator) Verify(ctx context.Context, progress func(done, total int64)) (VerifyReport, error) {
	r, err := o.Operator.Verify(ctx, progress)
	o.done(ctx, onVerify, audit.RestrictedFunction, fmt.Sprintf("verify: %d instances, %d problems", r.Instances, r.ProblemCount), err)
	return r, err
}

// VerifyImages implements [ImageOperator].
func (o auditedOperator) VerifyImages(ctx context.Context) (images.Report, error) {
	r, err := o.Operator.VerifyImages(ctx)
	o.done(ctx, onVerify, audit.RestrictedFunction, fmt.Sprintf("images verify: %d images, %d damaged", r.Images, r.Damaged), err)
	return r, err
}

// AddImage implements [ImageOperator].
func (o auditedOperator) AddImage(ctx context.Context, id images.Identifiers, body io.Reader) (StoredImage, error) {
	in, err := o.Operator.AddImage(ctx, id, body)
	if err == nil {
		added := images.Image{Identifiers: id}
		o.auditor.imageIn(onImageAdded, imageFrom{"images add", requestor(operatorOf(ctx)), "file:-"}, &added)
	}
	return in, err
}

// ListImages implements [ImageOperator].
func (o auditedOperator) ListImages(ctx context.Context, study string, behind uint64) ([]StoredImage, error) {
	list, err := o.Operator.ListImages(ctx, study, behind)
	outcome := audit.Success
	if err != nil {
		outcome = audit.SeriousFailure
	}
	search := audit.Search{Subject: "images list", Query: []byte("StudyInstanceUID=" + study)}
	if now := o.auditor.trail(); now != nil {
		now.tell(onImagesListed, audit.Query(requestor(operatorOf(ctx)), now.own, search, outcome, fmt.Sprintf("%d images listed", len(list))))
	}
	return list, err
}
