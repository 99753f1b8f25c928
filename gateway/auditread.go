package gateway

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"syscall"

	"dcmgate/audit"
)

// NoteAuditRead tells the audit trail that somebody reads it (PS3.15 A.5.3.2): through the gateway that runs on the data
// directory or, if none does, itself.
func NoteAuditRead(ctx context.Context, cfg Config) error {
	if !cfg.Audit.Enabled {
		return nil
	}
	conn, err := dialControl(ctx, cfg.DataDir)
	if err == nil {
		conn.Close()
		c := newClient(cfg.DataDir)
		defer c.close()
		return c.call(ctx, http.MethodPost, "/v1/audit/read", struct{}{}, &struct{}{})
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return audit.Append(auditOptions(&cfg), audit.LogUsed(requestor(localOperator()), "file:"+cfg.AuditDirectory()))
}

// postAuditRead is what NoteAuditRead asks for.
func (a *auditor) postAuditRead(w http.ResponseWriter, r *http.Request) {
	if a != nil {
		a.log.Record(audit.LogUsed(requestor(operatorOf(r.Context())), "file:"+a.directory))
	}
	answer(w, struct{}{}, nil)
}
