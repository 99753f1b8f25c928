package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/audit"
	"dcmgate/dicom"
	"dcmgate/spool"
)

// auditor tells the audit trail what happens in the gateway. On nil its methods do nothing; they all return at once.
type auditor struct {
	logger  *slog.Logger
	metrics *audit.Metrics
	floods  *trouble                                     // what many can do again and again
	others  atomic.Pointer[map[string]audit.Participant] // destinations by name, and peers by AE title
	current atomic.Pointer[trail]                        // nil while it is off
}

// trail is the audit trail as the settings in force have it.
type trail struct {
	*trailLog
	own       audit.Participant
	directory string
	patient   func(id string) string            // what is recorded of a patient; nil for nothing
	watch     func(e *AuditEvent, codes string) // of tests; nil otherwise
}

// trailLog is a log that is written until stop is called.
type trailLog struct {
	*audit.Log
	stop func() // nil before it is
}

// trail returns the audit trail, nil while it is off.
func (a *auditor) trail() *trail {
	if a == nil {
		return nil
	}
	return a.current.Load()
}

// troubles are what keeps messages from where they are to be.
func (a *auditor) troubles() []audit.Trouble {
	if t := a.trail(); t != nil {
		return t.Troubles()
	}
	return nil
}

func (t *trail) patientOf(in *spool.Instance) string {
	return t.patientID(in.Metadata.Text(dicom.TagPatientID))
}

func (t *trail) patientID(id string) string {
	if t.patient == nil {
		return ""
	}
	return t.patient(id)
}

// openAudit opens the audit trail, if it is on.
func openAudit(s *settings, log *slog.Logger, registry prometheus.Registerer) (*auditor, error) {
	a := &auditor{logger: log, metrics: audit.NewMetrics(registry), floods: newTrouble()}
	a.know(&s.Config)
	if !s.Audit.Enabled {
		return a, nil
	}
	t, err := a.open(s)
	a.current.Store(t)
	return a, err
}

// open opens the log of a trail that was off.
func (a *auditor) open(s *settings) (*trail, error) {
	o := sentAuditOptions(s)
	o.Logger, o.Metrics = a.logger, a.metrics
	l, err := audit.Open(o)
	if err != nil {
		return nil, &keyError{"audit.directory", err}
	}
	t, err := newTrail(s, &trailLog{Log: l})
	if err != nil {
		l.Close()
	}
	return t, err
}

func newTrail(s *settings, l *trailLog) (*trail, error) {
	t := &trail{trailLog: l, own: application(s.AETitle), directory: s.AuditDirectory()}
	var err error
	if t.patient, err = patientRecorder(s.Audit.PatientID, t.directory); err != nil {
		return nil, &keyError{"audit.patient_id", err}
	}
	return t, nil
}

// audit changes the trail. What was recorded before is written as it was to be.
func (t *transition) audit() error {
	a, before := t.parts.audit, t.parts.audit.trail()
	switch {
	case !t.new.Audit.Enabled && before == nil:
	case !t.new.Audit.Enabled:
		t.then(func() {
			a.current.Store(nil)
			before.EndSessions()
			before.switched(false)
			before.stop()
		})
	case before == nil:
		now, err := a.open(t.new)
		if err != nil {
			return err
		}
		t.orElse(now.Close)
		t.then(func() {
			now.begin()
			now.switched(true)
			a.current.Store(now)
		})
	default:
		change, err := before.Change(sentAuditOptions(t.new))
		if err != nil {
			return &keyError{"audit.directory", err}
		}
		now, err := newTrail(t.new, before.trailLog)
		if err != nil {
			change.Cancel()
			return err
		}
		t.orElse(change.Cancel)
		t.then(func() {
			change.Apply()
			a.current.Store(now)
		})
	}
	return nil
}

// switched tells that the trail was turned on while the gateway runs, or off.
func (t *trail) switched(on bool) {
	e, kind := onRecordingStopped, audit.RecordingStopped
	if on {
		e, kind = onRecordingStarted, audit.RecordingStarted
	}
	t.tell(e, audit.Alert(kind, audit.Success, "file:"+t.directory, fmt.Sprintf("audit.enabled is %v from now on", on), requestor(t.own)))
}

// run tells of the start and writes the log until stop is called, which tells of the end.
func (a *auditor) run() (stop func()) {
	if t := a.trail(); t != nil {
		t.tell(onStart, audit.Activity(true, t.own, audit.Participant{}))
	}
	end := a.begin()
	return func() {
		if t := a.trail(); t != nil {
			t.EndSessions() // the stop is the last that is told
			t.tell(onStop, audit.Activity(false, t.own, audit.Participant{}))
		}
		end()
	}
}

// begin has what is recorded written until end is called.
func (a *auditor) begin() (end func()) {
	if t := a.trail(); t != nil {
		t.begin()
	}
	return func() {
		if t := a.trail(); t != nil {
			t.stop()
		}
	}
}

// begin writes the log until stop is called.
func (l *trailLog) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.Run(ctx) // never fails
	}()
	l.stop = func() {
		cancel()
		<-ended
	}
}

// close gives up a log that does not run.
func (a *auditor) close() {
	if t := a.trail(); t != nil {
		t.Close()
	}
}
