package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"dcmgate/audit"
)

// NoteAuditRead tells the audit trail that somebody reads it (PS3.15 A.5.3.2): through the gateway that runs on the data
// directory or, if none does, itself.
func NoteAuditRead(ctx context.Context, cfg Config) error {
	return note(ctx, cfg, "/v1/audit/read", struct{}{}, func(a *auditor, ctx context.Context) { a.read(ctx) })
}

// Noted is a command that does its work beside the gateway, as the audit trail is told of it.
type Noted struct {
	Command string `json:"command"` // one of the constants
	Subject string `json:"subject"` // name of the database, and what of it
	Error   string `json:"error,omitempty"`
}

// The commands.
const (
	NotedInit    = "views init"
	NotedExport  = "views export"
	NotedRebuild = "verify --rebuild"
)

var notedEvents = map[string]*AuditEvent{NotedInit: onInit, NotedExport: onViewsExport, NotedRebuild: onRebuild}

// NoteCommand tells the audit trail of a command: as [NoteAuditRead] does. Where there is no data directory there is no trail.
func NoteCommand(ctx context.Context, cfg Config, command, subject string, failed error) error {
	n := Noted{Command: command, Subject: subject}
	if failed != nil {
		n.Error = failed.Error()
	}
	if _, err := os.Stat(cfg.DataDir); err != nil {
		return nil
	}
	return note(context.WithoutCancel(ctx), cfg, "/v1/audit/note", n, func(a *auditor, ctx context.Context) { a.noted(ctx, n) })
}

// note has something recorded: by the gateway that runs, at path, or by what itself does with the trail.
func note(ctx context.Context, cfg Config, path string, body any, itself func(*auditor, context.Context)) error {
	if !cfg.Audit.Enabled {
		return nil
	}
	conn, err := dialControl(ctx, cfg.DataDir)
	if err == nil {
		conn.Close()
		c := newClient(cfg.DataDir)
		defer c.close()
		return c.call(ctx, http.MethodPost, path, body, &struct{}{})
	}
	if !isNotRunning(err) {
		return err
	}
	cfg.Audit.Syslog.Address = "" // the gateway sends it, once it runs
	a, err := openAudit(&settings{Config: cfg}, nil, nil)
	if err != nil {
		return err
	}
	stop := a.begin()
	defer stop()
	itself(a, ctx)
	return nil
}

// read tells that somebody reads the trail.
func (a *auditor) read(ctx context.Context) {
	if now := a.trail(); now != nil {
		now.tell(onAuditRead, audit.LogUsed(requestor(operatorOf(ctx)), "file:"+now.directory))
	}
}

// noted tells of a command that has done its work beside the gateway.
func (a *auditor) noted(ctx context.Context, n Noted) {
	what := n.Command + " of " + n.Subject
	var err error
	if n.Error != "" {
		err = errors.New(n.Error)
	}
	a.operated(ctx, notedEvents[n.Command], audit.RestrictedFunction, what, err)
}

// postAuditRead is what NoteAuditRead asks for.
func (a *auditor) postAuditRead(w http.ResponseWriter, r *http.Request) {
	a.read(r.Context())
	answer(w, struct{}{}, nil)
}

// postAuditNote is what NoteCommand asks for.
func (a *auditor) postAuditNote(w http.ResponseWriter, r *http.Request) {
	var n Noted
	if !decode(w, r, &n) {
		return
	}
	if notedEvents[n.Command] == nil {
		answerError(w, http.StatusBadRequest, fmt.Errorf("%q is no command that is noted", n.Command))
		return
	}
	a.noted(r.Context(), n)
	answer(w, struct{}{}, nil)
}
