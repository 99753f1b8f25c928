package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/qr"
	"dcmgate/restore"
	"dcmgate/spool"
	"dcmgate/web"
)

// Cloud is a platform that studies are restored from.
type Cloud struct {
	URL          string // "": none
	HospitalCode string
	Signature    cloud.Rule
	AccessKey    string
	AccessSecret Secret
	IV           Secret
	TimeStamp    bool     // is sent
	Hosts        []string // beside that of URL
	CA           string   // PEM file; "": the system's
	Parallel     int
	Timeout      time.Duration // without a byte
	Attempts     int           // in succession
	Wait         time.Duration // of a client of interface 203; 0: the cloud is not asked for it
}

func (v *validator) cloud(raw *rawCloud, in Institution) Cloud {
	c := Cloud{
		URL:          parsed(v, raw.URL, parseBaseURL),
		HospitalCode: v.text(raw.HospitalCode, 64),
		Signature:    oneOf(v, raw.Signature, cloud.RuleMD5, cloud.RuleAES, cloud.RuleNone),
		AccessKey:    v.text(raw.AccessKey, 256),
		AccessSecret: v.secret(raw.AccessSecret),
		IV:           v.secret(raw.IV),
		TimeStamp:    v.truth(raw.TimeStamp),
		CA:           v.text(raw.CA, 4096),
		Parallel:     v.whole(raw.Parallel, 1, 64),
		Timeout:      v.duration(raw.Timeout, time.Second, time.Hour),
		Attempts:     v.whole(raw.Attempts, 1, 100),
		Wait:         v.duration(raw.Wait, 0, 10*time.Minute),
	}
	for _, h := range raw.Hosts {
		c.Hosts = append(c.Hosts, v.text(h, 255))
	}
	for _, code := range []string{in.PlatformCode, in.Code} {
		if c.HospitalCode == "" {
			c.HospitalCode = code
		}
	}
	switch {
	case c.URL == "" && (c.AccessKey != "" || raw.AccessSecret.Text != ""):
		v.fail(raw.URL.at, "the address of the platform is needed, such as https://images.example.org")
	case c.URL != "" && c.HospitalCode == "":
		v.fail(raw.HospitalCode.at, "is needed, or institution.platform_code")
	case c.URL != "" && c.Signature != cloud.RuleNone && (c.AccessKey == "" || raw.AccessSecret.Text == ""):
		v.fail(raw.at, "access_key and access_secret are needed")
	}
	return c
}

// Client makes the client of the platform, reading the secrets; nil if there is none.
func (c Cloud) Client() (*cloud.Client, error) {
	if c.URL == "" {
		return nil, nil
	}
	o := cloud.ClientOptions{
		BaseURL: c.URL, HospitalCode: c.HospitalCode, Rule: c.Signature, Key: cloud.Key{AccessKey: c.AccessKey},
		TimeStamp: c.TimeStamp, Hosts: c.Hosts, Timeout: c.Timeout, Attempts: c.Attempts,
	}
	var err error
	if o.Key.AccessSecret, err = c.AccessSecret.Read(); err == nil {
		o.Key.IV, err = c.IV.Read()
	}
	if err == nil && c.CA != "" {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DisableCompression = true
		transport.TLSClientConfig, err = ClientTLS{Enabled: true, CA: c.CA}.Load(":0")
		if transport.TLSClientConfig != nil {
			transport.TLSClientConfig.ServerName = "" // that of each address
		}
		o.Transport = transport
	}
	var client *cloud.Client
	if err == nil {
		client, err = cloud.NewClient(o)
	}
	if err != nil {
		return nil, &keyError{"retrieve.cloud", err}
	}
	return client, nil
}

// Where studies may be restored from, by the words of RestoreRequest.
const (
	FromAny      = "any" // upstreams first
	FromUpstream = "upstream"
	FromCloud    = "cloud"
)

// RestoreRequest says what is to be restored, and where it is to go from the spool.
type RestoreRequest struct {
	Study dicom.UID `json:"study"`
	From  string    `json:"from,omitempty"` // one of the above; "" is FromAny
	To    string    `json:"to,omitempty"`   // AE title of a peer with an address
}

// RestoreReport is the result of restoring a study.
type RestoreReport struct {
	restore.Report
	To   string   `json:"to,omitempty"`
	Sent *qr.Sent `json:"sent,omitempty"` // with To
}

// RestoreProgress is one step. The last one has a Report or an Error.
type RestoreProgress struct {
	Done   int            `json:"done"`
	Total  int            `json:"total"`
	Report *RestoreReport `json:"report,omitempty"`
	Error  string         `json:"error,omitempty"`
}

// Why nothing is restored.
var (
	errNoCloud    = errors.New("no cloud is configured to restore from; set retrieve.cloud")
	errNoUpstream = errors.New("no archive is configured to restore from; set upstreams")
	errNoSource   = errors.New("nothing is configured to restore from; set upstreams or retrieve.cloud")
	errNoGateway  = errors.New("upstreams send to a running gateway; start it, or restore from the cloud")
)

// restoring restores studies into a spool and sends them on.
type restoring struct {
	upstreams restore.Source // nil if there are none
	cloud     restore.Source // likewise
	running   bool           // the gateway
	spool     *spool.Spool
	scp       *qr.SCP
	dial      func(aeTitle string) qr.Dial
	audit     *auditor
}

// restoring is what a running gateway has for it.
func (p *parts) restoring() *restoring {
	r := &restoring{running: true, spool: p.spool, scp: p.receive.queries, dial: p.callees.destination, audit: p.audit}
	if len(p.upstreams.clients()) > 0 {
		r.upstreams = collector{p.receive.queries}
	}
	if cloud := p.restorer.Load(); cloud != nil {
		r.cloud = cloud
	}
	return r
}

// from finds the sources of a request, in the order in which they are asked.
func (r *restoring) from(where string) (restore.Sources, error) {
	s := restore.Sources{Whole: r.spool.Whole}
	if r.upstreams != nil && where != FromCloud {
		s.In = append(s.In, r.upstreams)
	}
	if r.cloud != nil && where != FromUpstream {
		s.In = append(s.In, r.cloud)
	}
	switch {
	case len(s.In) > 0:
		return s, nil
	case where == FromCloud:
		return s, errNoCloud
	case !r.running:
		return s, errNoGateway
	case where == FromUpstream:
		return s, errNoUpstream
	}
	return s, errNoSource
}

// collector is the upstreams as what is restored from.
type collector struct{ scp *qr.SCP }

// Study implements [restore.Source].
func (c collector) Study(ctx context.Context, study dicom.UID, progress func(restore.Report)) (restore.Report, error) {
	collected, err := c.scp.Collect(ctx, study, func(c qr.Collected) {
		if progress != nil {
			progress(restore.Report{Listed: c.Listed, Present: c.Present, Restored: c.Arrived})
		}
	})
	report := restore.Report{
		Listed: collected.Listed, Present: collected.Present, Restored: collected.Arrived, Failed: collected.Missing, Bytes: collected.Bytes, Remark: collected.Shortfall,
	}
	for _, uid := range collected.Lost {
		report.Failures = append(report.Failures, restore.Failure{Instance: uid, Reason: collected.Reason})
	}
	if err == nil && collected.Listed == 0 && collected.Shortfall != "" {
		err = fmt.Errorf("ask the upstreams for the study: %s", collected.Shortfall)
	}
	return report, err
}

// newRestorer builds what restores from the cloud; nil without one.
func newRestorer(cfg *Config, client *cloud.Client, s *spool.Spool, a *auditor, log *slog.Logger, metrics *restore.Metrics) *restore.Restorer {
	if client == nil {
		return nil
	}
	u, err := url.Parse(cfg.Retrieve.Cloud.URL)
	if err != nil {
		return nil // it was checked
	}
	return restore.New(restore.Options{
		Cloud: client, Store: s, AETitle: cfg.AETitle, Source: u.Hostname(), Parallel: cfg.Retrieve.Cloud.Parallel,
		Restored: a.restored(cfg.Retrieve.Cloud.URL), Logger: log, Metrics: metrics,
	})
}

// run restores a study, and sends it on if that is wanted.
func (r *restoring) run(ctx context.Context, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error) {
	report := RestoreReport{To: rq.To}
	sources, err := r.from(rq.From)
	if err != nil {
		return report, err
	}
	var dial qr.Dial
	if rq.To != "" {
		if dial = r.dial(rq.To); dial == nil {
			return report, fmt.Errorf("%s is not the AE title of a peer with an address", rq.To)
		}
	}
	report.Report, err = sources.Study(ctx, rq.Study, func(s restore.Report) {
		if progress != nil {
			progress(s.Restored+s.Present+s.Failed, s.Listed)
		}
	})
	if err != nil || dial == nil {
		return report, err
	}
	sent, err := r.scp.SendStudy(ctx, rq.Study, dial, r.audit.sentTo(ctx, rq.To))
	report.Sent = &sent
	return report, err
}

// restoreOffline restores with no gateway running.
func restoreOffline(ctx context.Context, cfg Config, s *spool.Spool, a *auditor, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error) {
	secure, errs := loadSecurity(&cfg)
	if len(errs) > 0 {
		return RestoreReport{}, errors.Join(errs...)
	}
	scp := qr.New(qr.Options{Index: s, AETitle: cfg.AETitle})
	r := &restoring{spool: s, scp: scp, dial: newCallees(&settings{Config: cfg, security: secure}, nil, nil).destination, audit: a}
	if cloud := newRestorer(&cfg, secure.cloud, s, a, nil, nil); cloud != nil {
		r.cloud = cloud
	}
	return r.run(ctx, rq, progress)
}

// revokeLinks ends addresses of interface 203 with no gateway running.
func revokeLinks(cfg Config, study dicom.UID) error {
	links, _, err := cfg.openLinks()
	if err != nil {
		return err
	}
	return endLinks(links, study)
}

// endLinks ends the addresses of a study, or all.
func endLinks(links *web.LinkState, study dicom.UID) error {
	if study == "" {
		return links.RevokeAll()
	}
	return links.Revoke(study, time.Now())
}
