package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dcmgate/audit"
	"dcmgate/internal/durable"
)

// PatientIDPolicy says what the audit trail holds of Patient IDs.
type PatientIDPolicy string

// The policies.
const (
	PatientIDNone  PatientIDPolicy = "none"
	PatientIDHash  PatientIDPolicy = "hash" // by a key of this gateway
	PatientIDPlain PatientIDPolicy = "plain"
)

// Audit configures the audit trail.
type Audit struct {
	Enabled   bool
	Directory string // "": the folder audit of the data directory
	PatientID PatientIDPolicy
	FileSize  int64
	FileAge   time.Duration
	Keep      time.Duration
	MaxSize   int64
	Sync      time.Duration // 0: each batch; negative: left to the system
	Syslog    Syslog
}

// Syslog configures the server that audit messages are sent to.
type Syslog struct {
	Address   string // "" for none
	Transport audit.Transport
	TLS       ClientTLS
}

type rawAudit struct {
	stanza
	Enabled   value     `yaml:"enabled" default:"true"`
	Directory value     `yaml:"directory"`
	PatientID value     `yaml:"patient_id" default:"none"`
	FileSize  value     `yaml:"file_size" default:"64MiB"`
	FileAge   value     `yaml:"file_age" default:"1d"`
	Keep      value     `yaml:"keep" default:"190d"`
	MaxSize   value     `yaml:"max_size" default:"4GiB"`
	Sync      value     `yaml:"sync" default:"1s"`
	Syslog    rawSyslog `yaml:"syslog"`
}

type rawSyslog struct {
	stanza
	Address    value `yaml:"address" default:"off"`
	Transport  value `yaml:"transport" default:"tls"`
	CA         value `yaml:"ca" file:"text"`
	Cert       value `yaml:"cert" file:"text"`
	Key        value `yaml:"key" file:"key"`
	ServerName value `yaml:"server_name"`
}

func (v *validator) audit(raw *rawAudit) Audit {
	a := Audit{
		Enabled:   v.truth(raw.Enabled),
		Directory: v.text(raw.Directory, 4096),
		PatientID: oneOf(v, raw.PatientID, PatientIDNone, PatientIDHash, PatientIDPlain),
		FileSize:  v.size(raw.FileSize, 1<<20, 4<<30),
		FileAge:   v.duration(raw.FileAge, time.Hour, 366*24*time.Hour),
		Keep:      v.duration(raw.Keep, time.Hour, 100*366*24*time.Hour),
		MaxSize:   v.size(raw.MaxSize, 4<<20, 1<<40),
		Syslog:    v.syslog(&raw.Syslog),
	}
	if raw.Sync.Text == "off" {
		a.Sync = -1
	} else {
		a.Sync = v.duration(raw.Sync, 0, time.Hour)
	}
	if a.MaxSize < 2*a.FileSize {
		v.fail(raw.MaxSize.at, "%s is less than two files (file_size %s)", raw.MaxSize.Text, raw.FileSize.Text)
	}
	if !a.Enabled && a.Syslog.Address != "" {
		v.fail(raw.Syslog.at, "what is sent is what is recorded; set audit.enabled to true, or address to off")
	}
	return a
}

func (v *validator) syslog(raw *rawSyslog) Syslog {
	s := Syslog{Transport: oneOf(v, raw.Transport, audit.TransportTLS, audit.TransportTCP, audit.TransportUDP)}
	if raw.Address.Text != "off" {
		s.Address = parsed(v, raw.Address, parseAddress)
	}
	s.TLS = v.clientTLS(&rawClientTLS{
		stanza: raw.stanza, Enabled: value{Text: "true", at: raw.at}, CA: raw.CA, Cert: raw.Cert, Key: raw.Key, ServerName: raw.ServerName,
	})
	switch {
	case s.Transport != audit.TransportTLS && (s.TLS.CA != "" || s.TLS.Cert != "" || s.TLS.ServerName != ""):
		v.fail(raw.at, "ca, cert, key and server_name are of transport tls")
	case s.Address != "" && s.Transport != audit.TransportTLS:
		v.note("audit.syslog: transport %s is neither encrypted nor authenticated; it is for a server on this host, which may pass the messages on", s.Transport)
	}
	return s
}

// load returns the TLS configuration towards the server; nil if there is none.
func (s Syslog) load() (*tls.Config, error) {
	if s.Address == "" || s.Transport != audit.TransportTLS {
		return nil, nil
	}
	return s.TLS.load("audit.syslog", s.Address)
}

// AuditDirectory is where the audit trail is, whether it is enabled or not.
func (c *Config) AuditDirectory() string {
	if c.Audit.Directory != "" {
		return c.Audit.Directory
	}
	return filepath.Join(c.DataDir, "audit")
}

// auditOptions are those of a log that nothing is sent from.
func auditOptions(cfg *Config) audit.Options {
	a := &cfg.Audit
	return audit.Options{
		Dir: cfg.AuditDirectory(), Site: cfg.Institution.Code, Application: application(cfg.AETitle),
		FileSize: a.FileSize, FileAge: a.FileAge, Keep: a.Keep, MaxSize: a.MaxSize, Sync: a.Sync,
	}
}

// sentAuditOptions are those of a log that is sent to the server, if there is one.
func sentAuditOptions(s *settings) audit.Options {
	o := auditOptions(&s.Config)
	if server := s.Audit.Syslog; server.Address != "" {
		o.Syslog = &audit.Syslog{Transport: server.Transport, Address: server.Address, TLS: s.syslog}
	}
	return o
}

// patientRecorder makes the function that returns what is recorded of a patient.
func patientRecorder(policy PatientIDPolicy, dir string) (func(id string) string, error) {
	switch policy {
	case PatientIDPlain:
		return func(id string) string { return id }, nil
	case PatientIDHash:
		key, err := patientKey(filepath.Join(dir, "patient.key"))
		if err != nil {
			return nil, err
		}
		return func(plain string) string {
			if plain == "" {
				return ""
			}
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(plain))
			return hex.EncodeToString(mac.Sum(nil)[:16])
		}, nil
	}
	return nil, nil
}

// patientKey reads the key that Patient IDs are hashed with, or makes it. Whoever has it can find out whose a hash is.
func patientKey(file string) ([]byte, error) {
	key, err := os.ReadFile(file)
	if err == nil && len(key) == sha256.Size {
		return key, nil
	}
	if err == nil || !os.IsNotExist(err) {
		return nil, fmt.Errorf("the key in %s cannot be used; remove it to have a new one, by which hashes differ from those before: %w", file, err)
	}
	key = make([]byte, sha256.Size)
	rand.Read(key) // never fails
	// A part of it would keep every later start from taking the configuration.
	return key, durable.WriteFile(file, key, 0o600)
}
