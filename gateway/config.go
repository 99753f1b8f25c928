package gateway

import (
	"log/slog"
	"net/netip"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/forwarder"
	"dcmgate/views"
	"dcmgate/web"
)

// Config is a validated configuration. Load, Parse and Default make one;
// nothing else should, since New relies on its values being within limits.
type Config struct {
	Source          string // the file, or "" for the built-in defaults
	AETitle         string // the gateway's own
	DataDir         string
	Institution     Institution
	DICOM           DICOM
	HTTP            HTTP
	Public          Public
	Spool           Spool
	Peers           []Peer
	Destinations    []Destination
	Commitment      Commitment
	Upstreams       []Upstream
	Drop            []DropFolder
	Views           []View
	Rows            Rows
	Images          Images
	Retrieve        Retrieve
	Audit           Audit
	Log             Log
	ShutdownTimeout time.Duration

	// Notes are sentences about what is valid but deserves attention: keys
	// that this version does not act on, secrets in plain text.
	Notes []string

	raw *rawConfig // as it is written
}

// Institution identifies the hospital in rows and interfaces.
type Institution struct{ Code, Name, PlatformCode string }

// AcceptPolicy says whose associations are admitted.
type AcceptPolicy string

// The policies.
const (
	AcceptKnown AcceptPolicy = "known" // calling AE titles under peers
	AcceptAny   AcceptPolicy = "any"   // everybody
)

// SOPClassPolicy says which storage SOP classes are accepted.
type SOPClassPolicy string

// The policies.
const (
	SOPClassesKnown SOPClassPolicy = "known" // those of the standard
	SOPClassesAny   SOPClassPolicy = "any"   // private and future ones too
)

// DICOM configures the association acceptor.
type DICOM struct {
	Listen           string // HOST:PORT, "" for none
	Accept           AcceptPolicy
	CheckCalledAE    bool
	MaxAssociations  int
	MaxPerAddress    int    // 0: no limit of its own
	MaxPDU           uint32 // bytes of P-DATA-TF offered to senders
	Window           int    // operations a requestor may have outstanding
	SOPClasses       SOPClassPolicy
	TransferSyntaxes TransferSyntaxes
	Timeouts         ServerTimeouts
	TLS              ServerTLS
}

// TransferSyntaxes adjusts the choice among those a sender offers.
type TransferSyntaxes struct{ Prefer, Refuse, Private []dicom.UID }

// ServerTimeouts bound every state of an accepted association.
type ServerTimeouts struct {
	Association time.Duration // ARTIM: connection to request, release to close
	Idle        time.Duration // between two operations
	PDU         time.Duration // from a PDU's first byte to its last
	DIMSE       time.Duration // answer to an operation of ours
	Write       time.Duration // one answer
}

// ServerTLS configures the listener for DICOM over TLS.
type ServerTLS struct {
	Listen   string // "" for none
	Cert     string // PEM file, leaf first
	Key      Secret
	ClientCA string // PEM file; clients must then present a certificate
}

// HTTP configures the listener for people and scrapers.
type HTTP struct {
	Listen     string    // HOST:PORT, unix:PATH, ListenPassed, "" for none
	Token      Secret    // without it only this machine is let in
	OpenChecks bool      // /healthz and /readyz need no token
	Hosts      []string  // names that it is asked by beside its own, in lower case
	TLS        PublicTLS // none on a Unix socket
}

// Public configures the listener for the standard's clients.
type Public struct {
	Listen       string
	URL          string // what addresses for download begin with; "": what the request was sent to
	Limits       web.Limits
	WriteTimeout time.Duration // for a client to take a mebibyte
	TLS          PublicTLS
}

// PublicTLS makes the public listener speak TLS.
type PublicTLS struct {
	Cert     string // PEM file, leaf first; "": plain HTTP
	Key      Secret
	ClientCA string // PEM file; clients must then present a certificate
}

// Spool configures storage.
type Spool struct {
	Quota     int64         // bytes of payload; 0: no limit but MinFree
	MinFree   int64         // bytes of the file system kept free
	Retention time.Duration // delivered instances older than this are evicted; 0: only by quota
	// KeepUnrouted protects instances that never had a destination from being
	// evicted for room.
	KeepUnrouted bool
	EvictAfter   EvictAfter
	SegmentSize  int64
}

// Commitment configures storage commitment towards peers.
type Commitment struct {
	MaxAge time.Duration // after its request a result is given up that the peer does not take
}

// Right is something a peer may do.
type Right string

// The rights.
const (
	RightStore    Right = "store"
	RightQuery    Right = "query"
	RightRetrieve Right = "retrieve"
	RightCommit   Right = "commit"   // ask for storage commitment; who may store may
	RightUpstream Right = "upstream" // queries and retrievals go on to the upstreams
)

// Peer is an application entity that may call the gateway.
type Peer struct {
	AETitle string         // "*" for callers that no other entry names
	Address string         // HOST:PORT it listens on; "" if it is never called
	TLS     ClientTLS      // towards Address
	From    []netip.Prefix // addresses it may call from; empty: any
	// Certificate is what its TLS certificate is known by, any of these: the
	// subject's common name or a DNS name of its alternative names in lower
	// case, or sha256:HEX. Empty: it may call without TLS.
	Certificate []string
	Allow       []Right
	Query       PeerQuery
	MoveTo      []string // AE titles of peers it may have instances moved to; empty: all that have an address
}

// PeerQuery bounds and interprets what a peer with the right to query asks.
type PeerQuery struct {
	MaxMatches   int    // of one query; more end it with A700. 0: the default
	CharacterSet string // of identifiers that name none; "" is the default repertoire
}

// Destination is an application entity that instances are delivered to.
type Destination struct {
	Name             string
	AETitle          string // called
	CallingAETitle   string
	Address          string
	Associations     int // upper bound
	Window           int // operations outstanding on one association
	Batch            int // instances for one association
	Linger           time.Duration
	MaxPDU           uint32
	Calendar         forwarder.Calendar // rate by time of day, Rate included
	TransferSyntaxes []dicom.UID        // the only ones it may be sent; empty: all
	Convert          bool               // to what it takes, where it does not take what is stored
	Priority         PriorityPolicy
	Retry            Retry
	Commitment       DestinationCommitment
	Timeouts         ClientTimeouts
	TLS              ClientTLS
}

// Upstream is an archive that is asked for what the gateway does not hold.
type Upstream struct {
	Name         string
	AETitle      string // called; what calls with it may store
	Address      string
	From         []netip.Prefix // addresses it may call from; empty: any
	Models       []dicom.UID    // SOP classes of C-FIND that it is asked in
	CharacterSet string
	Associations int
	Calendar     forwarder.Calendar // hours, and rate of what it sends on request, Rate included
	// Forward has what comes from it on request delivered to the destinations like anything else.
	Forward  bool
	Timeouts UpstreamTimeouts
	TLS      ClientTLS
}

// UpstreamTimeouts bound what an upstream may take.
type UpstreamTimeouts struct {
	Association time.Duration // connecting, negotiating, releasing
	Query       time.Duration // to the first answer to a query, and from one to the next
	Move        time.Duration // of a C-MOVE without a response and without an instance
	Write       time.Duration // one burst
}

// PriorityPolicy is a fixed priority, or that of the received C-STORE-RQ.
type PriorityPolicy string

// The policies.
const (
	PriorityReceived PriorityPolicy = "received"
	PriorityLow      PriorityPolicy = "low"
	PriorityMedium   PriorityPolicy = "medium"
	PriorityHigh     PriorityPolicy = "high"
)

// Retry bounds the repetition of transient failures.
type Retry struct {
	Initial, Max time.Duration
	Attempts     int // before an instance is parked
}

// ClientTimeouts bound every state of a requested association.
type ClientTimeouts struct {
	Association time.Duration // connecting and negotiating; release to close
	DIMSE       time.Duration // C-STORE-RQ to C-STORE-RSP
	Write       time.Duration // one burst
}

// ClientTLS configures DICOM over TLS towards a destination, upstream or peer.
type ClientTLS struct {
	Enabled    bool
	CA         string // PEM file; "": the system's
	Cert       string // PEM file for mutual authentication
	Key        Secret
	ServerName string // "": the host of the address
}

// View is a database that metadata rows are published to.
type View struct {
	Name   string
	DSN    Secret
	AsText bool // dates and times as text in the views
}

// Rows says how metadata rows are made.
type Rows struct {
	CompleteAfter   time.Duration // without a new instance
	Hold            bool          // rows that lack a required column
	SwapCounts      bool
	TimeZone        *time.Location
	UnknownModality string            // "": as it is
	Modalities      map[string]string // written in place of one
	Campuses        []views.Campus
	Fill            []RowRule
	Export          string // folder that files are exported to, "" for none
	FileAddress     string // of the folder, or without one a template of FilePathName; without either V_DocImage has no rows
	Links           bool   // FilePathName is an address of interface 203
}

// RowRule is a rule whose lookup file is not read yet.
type RowRule struct {
	views.Rule
	LookupFile string
}

// Retrieve configures the standard's interface 203.
type Retrieve struct {
	Signature       cloud.Rule
	Clients         []Client
	ReplayWindow    time.Duration // 0: timeStamp is not looked at
	TimeStampNeeded bool
	LinkLifetime    time.Duration // of addresses for download
	UpstreamWait    time.Duration // of a client, for what upstreams have; 0: they are not asked for it
	Serve           bool          // there are clients, or none are needed
	Cloud           Cloud         // that studies are restored from
}

// Client is one caller of interface 203.
type Client struct {
	AccessKey    string
	AccessSecret Secret
	IV           Secret // with signature aes
}

// Log configures logging to standard error.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Destination returns the destination of that name.
func (c *Config) Destination(name string) (Destination, bool) {
	for _, d := range c.Destinations {
		if d.Name == name {
			return d, true
		}
	}
	return Destination{}, false
}

// AdmitsAddress reports whether the peer may call from addr.
func (p Peer) AdmitsAddress(addr netip.Addr) bool {
	for _, prefix := range p.From {
		if prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return len(p.From) == 0
}
