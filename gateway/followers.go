package gateway

// follower says how a part of the gateway follows the configuration while it
// runs. Every key belongs to at least one follower; a test sees to that.
type follower struct {
	// keys are those that the part is made of, or their stanzas.
	keys []string
	// prepare does all that can fail, and hands to the transition what puts the new settings into force.
	prepare func(t *transition) error
	// keep, instead of prepare, is for keys that need a restart: it puts back what is in force.
	keep func(new, running *Config)
}

// followers are all of them, in the order in which they change.
var followers = []follower{
	{keys: []string{"data_dir"}, keep: func(new, running *Config) { new.DataDir = running.DataDir }},
	{keys: []string{"spool.segment_size"}, keep: func(new, running *Config) { new.Spool.SegmentSize = running.Spool.SegmentSize }},

	{keys: []string{"log"}, prepare: (*transition).logging},
	{keys: []string{"spool.quota", "spool.min_free", "spool.retention", "spool.keep_unrouted", "spool.evict_after", "dicom.max_associations", "drop"}, prepare: (*transition).spool},
	{keys: []string{"ae_title", "dicom.timeouts", "peers"}, prepare: (*transition).calledPeers},
	{keys: []string{"ae_title", "commitment"}, prepare: (*transition).keeper},
	{keys: []string{"ae_title", "dicom.accept", "dicom.check_called_ae", "dicom.window", "dicom.sop_classes", "dicom.transfer_syntaxes",
		"peers", "destinations", "upstreams"}, prepare: (*transition).receivePolicy},
	{keys: []string{"images"}, prepare: (*transition).images},
	{keys: []string{"retrieve", "public.listen", "public.url", "public.connections", "public.connections_per_address", "public.requests_per_second", "public.requests_per_client",
		"public.write_timeout", "images", "institution", "rows", "views", "upstreams", "ae_title"}, prepare: (*transition).served},
	{keys: []string{"institution", "rows", "views", "public.url", "images"}, prepare: (*transition).publishers},
	{keys: []string{"ae_title", "upstreams"}, prepare: (*transition).upstreams},
	{keys: []string{"ae_title", "destinations", "shutdown_timeout"}, prepare: (*transition).destinations},
	{keys: []string{"dicom.max_associations", "dicom.max_per_address", "dicom.max_pdu", "dicom.timeouts"}, prepare: (*transition).associationLimits},
	{keys: []string{"dicom.tls.cert", "dicom.tls.key", "dicom.tls.client_ca", "public.tls", "shutdown_timeout",
		"http.token", "http.open_checks", "http.hosts", "http.tls"}, prepare: (*transition).lookedUp},

	{keys: []string{"peers", "destinations"}, prepare: (*transition).audited},
	{keys: []string{"audit", "ae_title", "institution.code"}, prepare: (*transition).audit},
	{keys: []string{"ae_title", "drop"}, prepare: (*transition).dropFolders},

	{keys: []string{"http.listen", "http.tls", "public.listen", "public.tls", "retrieve", "dicom.listen", "dicom.tls.listen"}, prepare: (*transition).listeners},
}

// restartKeys are the keys that need a restart.
func restartKeys() (keys []string) {
	for _, f := range followers {
		if f.keep != nil {
			keys = append(keys, f.keys...)
		}
	}
	return keys
}

// lookedUp has nothing to do: what is made of these keys asks for the settings
// in force each time.
func (t *transition) lookedUp() error { return nil }

func (t *transition) audited() error {
	t.then(func() { t.parts.audit.know(&t.new.Config) })
	return nil
}

func (t *transition) logging() error {
	t.then(func() { t.Gateway.logging.set(t.new.Log) })
	return nil
}

func (t *transition) spool() error {
	t.then(func() {
		t.parts.spool.SetLimits(spoolLimits(&t.new.Config))
		t.parts.spool.SetMaxWriters(maxWriters(&t.new.Config))
		if t.taken.touch("spool.evict_after") {
			t.parts.spool.SetEvictAfter(t.new.Spool.EvictAfter.spool())
		}
	})
	return nil
}

func (t *transition) calledPeers() error {
	t.then(func() { t.parts.callees.use(t.new, t.log, t.registry) })
	return nil
}

func (t *transition) keeper() error {
	t.then(func() { t.parts.keeper.Use(t.new.AETitle, t.new.Commitment.MaxAge) })
	return nil
}

func (t *transition) receivePolicy() error {
	p := newPolicy(&t.new.Config)
	t.then(func() { t.parts.receive.use(p) })
	return nil
}

func (t *transition) dropFolders() error {
	others, err := t.parts.drop.prepare(&t.new.Config)
	t.then(func() { t.parts.drop.use(others) })
	return err
}

// destinations change one by one; the receive policy has changed before, so that
// nothing more becomes due to one that is taken away.
func (t *transition) destinations() error {
	apply, err := t.parts.forward.Change(forwarderDestinations(t.new), t.new.grace())
	if err != nil {
		return err
	}
	t.then(apply)
	t.then(func() {
		t.parts.group.Go(func() error { t.abandonAwaiting(t.parts.backstage, t.new, t.parts.spool); return nil })
	})
	return nil
}

func (t *transition) associationLimits() error {
	t.then(func() { t.parts.dicom.SetLimits(serverLimits(&t.new.DICOM)) })
	return nil
}
