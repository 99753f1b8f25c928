package gateway

// Limits on what a configuration file may hold, far above what a site needs.
const (
	maxConfigSize  = 1 << 20 // bytes
	maxListEntries = 1000    // peers, destinations, calendar lines, ...
	maxKeyLength   = 64
)

// The raw structs mirror the file: one field per key, in the order of the
// reference, every leaf as text with its place and its default. config.go
// turns them into a Config with real types.
//
// The tag file says that a value names a file whose contents matter, so that a
// change of it is a change of the configuration: text for what anybody may
// read, a path; key for a private key, a path or a reference; secret for a
// reference, unless the secret stands there itself. See files.go.

type rawConfig struct {
	stanza
	AETitle         value            `yaml:"ae_title" default:"DCMGATE"`
	DataDir         value            `yaml:"data_dir" default:"./dcmgate-data"`
	Institution     rawInstitution   `yaml:"institution"`
	DICOM           rawDICOM         `yaml:"dicom"`
	HTTP            rawHTTP          `yaml:"http"`
	Public          rawPublic        `yaml:"public"`
	Spool           rawSpool         `yaml:"spool"`
	Peers           []rawPeer        `yaml:"peers"`
	Destinations    []rawDestination `yaml:"destinations"`
	Commitment      rawCommitment    `yaml:"commitment"`
	Upstreams       []rawUpstream    `yaml:"upstreams"`
	Drop            []rawDropFolder  `yaml:"drop"`
	Views           []rawView        `yaml:"views"`
	Rows            rawRows          `yaml:"rows"`
	Images          rawImages        `yaml:"images"`
	Retrieve        rawRetrieve      `yaml:"retrieve"`
	Audit           rawAudit         `yaml:"audit"`
	Log             rawLog           `yaml:"log"`
	ShutdownTimeout value            `yaml:"shutdown_timeout" default:"30s"`
}

type rawInstitution struct {
	stanza
	Code         value `yaml:"code"`
	Name         value `yaml:"name"`
	PlatformCode value `yaml:"platform_code"`
}

type rawDICOM struct {
	stanza
	Listen           value               `yaml:"listen" default:"127.0.0.1:11112"`
	Accept           value               `yaml:"accept" default:"known"`
	CheckCalledAE    value               `yaml:"check_called_ae" default:"false"`
	MaxAssociations  value               `yaml:"max_associations" default:"100"`
	MaxPerAddress    value               `yaml:"max_per_address" default:"64"`
	MaxPDU           value               `yaml:"max_pdu" default:"256KiB"`
	Window           value               `yaml:"window" default:"16"`
	SOPClasses       value               `yaml:"sop_classes" default:"any"`
	TransferSyntaxes rawTransferSyntaxes `yaml:"transfer_syntaxes"`
	Timeouts         rawServerTimeouts   `yaml:"timeouts"`
	TLS              rawServerTLS        `yaml:"tls"`
}

type rawTransferSyntaxes struct {
	stanza
	Prefer  []value `yaml:"prefer"`
	Refuse  []value `yaml:"refuse"`
	Private []value `yaml:"private"`
}

type rawServerTimeouts struct {
	stanza
	Association value `yaml:"association" default:"30s"`
	Idle        value `yaml:"idle" default:"5m"`
	PDU         value `yaml:"pdu" default:"1m"`
	DIMSE       value `yaml:"dimse" default:"2m"`
	Write       value `yaml:"write" default:"1m"`
}

type rawServerTLS struct {
	stanza
	Listen   value `yaml:"listen" default:"off"`
	Cert     value `yaml:"cert" file:"text"`
	Key      value `yaml:"key" file:"key"`
	ClientCA value `yaml:"client_ca" file:"text"`
}

type rawHTTP struct {
	stanza
	Listen     value        `yaml:"listen" default:"127.0.0.1:8080"`
	Token      value        `yaml:"token" file:"secret"`
	OpenChecks value        `yaml:"open_checks" default:"false"`
	Hosts      []value      `yaml:"hosts"`
	TLS        rawPublicTLS `yaml:"tls"`
}

type rawPublic struct {
	stanza
	Listen                value        `yaml:"listen" default:"127.0.0.1:8081"`
	URL                   value        `yaml:"url"`
	Connections           value        `yaml:"connections" default:"1024"`
	ConnectionsPerAddress value        `yaml:"connections_per_address" default:"256"`
	RequestsPerSecond     value        `yaml:"requests_per_second" default:"5000"`
	RequestsPerClient     value        `yaml:"requests_per_client" default:"1000"`
	WriteTimeout          value        `yaml:"write_timeout" default:"1m"`
	TLS                   rawPublicTLS `yaml:"tls"`
}

type rawPublicTLS struct {
	stanza
	Cert     value `yaml:"cert" file:"text"`
	Key      value `yaml:"key" file:"key"`
	ClientCA value `yaml:"client_ca" file:"text"`
}

type rawSpool struct {
	stanza
	Quota        value `yaml:"quota" default:"0"`
	MinFree      value `yaml:"min_free" default:"2GB"`
	Retention    value `yaml:"retention" default:"0"`
	KeepUnrouted value `yaml:"keep_unrouted" default:"true"`
	EvictAfter   value `yaml:"evict_after" default:"delivered"`
	SegmentSize  value `yaml:"segment_size" default:"128MiB"`
}

type rawPeer struct {
	stanza
	AETitle     value        `yaml:"ae_title"`
	Address     value        `yaml:"address"`
	TLS         rawClientTLS `yaml:"tls"`
	From        []value      `yaml:"from"`
	Certificate []value      `yaml:"certificate"`
	Allow       []value      `yaml:"allow"`
	Query       rawPeerQuery `yaml:"query"`
	MoveTo      []value      `yaml:"move_to"`
}

type rawPeerQuery struct {
	stanza
	MaxMatches   value `yaml:"max_matches" default:"10000"`
	CharacterSet value `yaml:"character_set"`
}

type rawDestination struct {
	stanza
	Name             value             `yaml:"name"`
	AETitle          value             `yaml:"ae_title"`
	CallingAETitle   value             `yaml:"calling_ae_title"`
	Address          value             `yaml:"address"`
	Associations     value             `yaml:"associations" default:"4"`
	Window           value             `yaml:"window" default:"8"`
	Batch            value             `yaml:"batch" default:"500"`
	Linger           value             `yaml:"linger" default:"2s"`
	MaxPDU           value             `yaml:"max_pdu" default:"256KiB"`
	Rate             value             `yaml:"rate" default:"unlimited"`
	Calendar         []value           `yaml:"calendar"`
	TransferSyntaxes []value           `yaml:"transfer_syntaxes"`
	Convert          value             `yaml:"convert" default:"false"`
	Priority         value             `yaml:"priority" default:"received"`
	Retry            rawRetry          `yaml:"retry"`
	Commitment       rawCustody        `yaml:"commitment"`
	Timeouts         rawClientTimeouts `yaml:"timeouts"`
	TLS              rawClientTLS      `yaml:"tls"`
}

type rawRetry struct {
	stanza
	Initial  value `yaml:"initial" default:"5s"`
	Max      value `yaml:"max" default:"10m"`
	Attempts value `yaml:"attempts" default:"10"`
}

type rawCustody struct {
	stanza
	Enabled  value `yaml:"enabled" default:"false"`
	Wait     value `yaml:"wait" default:"10s"`
	Batch    value `yaml:"batch" default:"500"`
	Linger   value `yaml:"linger" default:"10s"`
	Timeout  value `yaml:"timeout" default:"10m"`
	Attempts value `yaml:"attempts" default:"3"`
}

type rawClientTimeouts struct {
	stanza
	Association value `yaml:"association" default:"30s"`
	DIMSE       value `yaml:"dimse" default:"2m"`
	Write       value `yaml:"write" default:"1m"`
}

type rawClientTLS struct {
	stanza
	Enabled    value `yaml:"enabled" default:"false"`
	CA         value `yaml:"ca" file:"text"`
	Cert       value `yaml:"cert" file:"text"`
	Key        value `yaml:"key" file:"key"`
	ServerName value `yaml:"server_name"`
}

type rawCommitment struct {
	stanza
	MaxAge value `yaml:"max_age" default:"7d"`
}

type rawUpstream struct {
	stanza
	Name         value               `yaml:"name"`
	AETitle      value               `yaml:"ae_title"`
	Address      value               `yaml:"address"`
	From         []value             `yaml:"from"`
	Models       []value             `yaml:"models"`
	CharacterSet value               `yaml:"character_set"`
	Associations value               `yaml:"associations" default:"2"`
	Rate         value               `yaml:"rate" default:"unlimited"`
	Calendar     []value             `yaml:"calendar"`
	Forward      value               `yaml:"forward" default:"false"`
	Timeouts     rawUpstreamTimeouts `yaml:"timeouts"`
	TLS          rawClientTLS        `yaml:"tls"`
}

type rawUpstreamTimeouts struct {
	stanza
	Association value `yaml:"association" default:"10s"`
	Query       value `yaml:"query" default:"15s"`
	Move        value `yaml:"move" default:"2m"`
	Write       value `yaml:"write" default:"1m"`
}

type rawDropFolder struct {
	stanza
	Name           value `yaml:"name"`
	Folder         value `yaml:"folder"`
	Takes          value `yaml:"takes" default:"dicom"`
	CallingAETitle value `yaml:"calling_ae_title"`
	After          value `yaml:"after" default:"delete"`
	Done           value `yaml:"done"`
	Rejected       value `yaml:"rejected"`
	Quiet          value `yaml:"quiet" default:"2s"`
	Rescan         value `yaml:"rescan" default:"10s"`
	Patience       value `yaml:"patience" default:"10m"`
	MaxSize        value `yaml:"max_size" default:"16GiB"`
}

type rawView struct {
	stanza
	Name  value `yaml:"name"`
	DSN   value `yaml:"dsn" file:"secret"`
	Dates value `yaml:"dates" default:"native"`
}

type rawRows struct {
	stanza
	CompleteAfter   value       `yaml:"complete_after" default:"5m"`
	Missing         value       `yaml:"missing" default:"publish"`
	SwapCounts      value       `yaml:"swap_counts" default:"false"`
	TimeZone        value       `yaml:"time_zone" default:"local"`
	UnknownModality value       `yaml:"unknown_modality" default:"keep"`
	Modalities      []value     `yaml:"modalities"`
	Campuses        []rawCampus `yaml:"campuses"`
	Fill            []rawRule   `yaml:"fill"`
	Files           rawFiles    `yaml:"files"`
}

type rawCampus struct {
	stanza
	AETitles []value `yaml:"ae_titles"`
	Code     value   `yaml:"code"`
	Name     value   `yaml:"name"`
}

type rawRule struct {
	stanza
	Column value   `yaml:"column"`
	Always value   `yaml:"always" default:"false"`
	From   []value `yaml:"from"`
	Match  value   `yaml:"match"`
	Value  value   `yaml:"value"`
	Lookup value   `yaml:"lookup" file:"text"`
}

type rawFiles struct {
	stanza
	Export  value `yaml:"export"`
	Address value `yaml:"address"`
	Links   value `yaml:"links" default:"false"`
}

type rawImages struct {
	stanza
	Address value `yaml:"address"`
	Export  value `yaml:"export"`
	MaxSize value `yaml:"max_size" default:"64MiB"`
	Upload  value `yaml:"upload" default:"false"`
}

type rawRetrieve struct {
	stanza
	Signature       value       `yaml:"signature" default:"md5"`
	ReplayWindow    value       `yaml:"replay_window" default:"10m"`
	TimeStampNeeded value       `yaml:"timestamp_needed" default:"false"`
	LinkLifetime    value       `yaml:"link_lifetime" default:"24h"`
	UpstreamWait    value       `yaml:"upstream_wait" default:"10s"`
	Clients         []rawClient `yaml:"clients"`
	Cloud           rawCloud    `yaml:"cloud"`
}

type rawCloud struct {
	stanza
	URL          value   `yaml:"url"`
	HospitalCode value   `yaml:"hospital_code"`
	Signature    value   `yaml:"signature" default:"md5"`
	AccessKey    value   `yaml:"access_key"`
	AccessSecret value   `yaml:"access_secret" file:"secret"`
	IV           value   `yaml:"iv" file:"secret"`
	TimeStamp    value   `yaml:"timestamp" default:"false"`
	Hosts        []value `yaml:"hosts"`
	CA           value   `yaml:"ca" file:"text"`
	Parallel     value   `yaml:"parallel" default:"4"`
	Timeout      value   `yaml:"timeout" default:"30s"`
	Attempts     value   `yaml:"attempts" default:"5"`
	Wait         value   `yaml:"wait" default:"10s"`
}

type rawClient struct {
	stanza
	AccessKey    value `yaml:"access_key"`
	AccessSecret value `yaml:"access_secret" file:"secret"`
	IV           value `yaml:"iv" file:"secret"`
}

type rawLog struct {
	stanza
	Level  value `yaml:"level" default:"info"`
	Format value `yaml:"format" default:"text"`
}
