package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples are shown by the help and the manual page of each command, by its path without the program's name.
var examples = map[string][]string{
	"serve":           {"dcmgate serve --config /etc/dcmgate/dcmgate.yaml"},
	"demo":            {"dcmgate demo", "dcmgate demo --once"},
	"send":            {"dcmgate send --calling CT1 --called DCMGATE 10.0.0.2:11112 folder/ image.dcm", "dcmgate send --associations 4 --called DCMGATE 10.0.0.2:11112 folder/"},
	"echo":            {"dcmgate echo --calling DCMGATE --called CLOUD 10.1.0.9:104", "dcmgate echo --called PACS --tls --tls-ca ca.pem pacs.example.org:2762"},
	"find":            {"dcmgate find --called PACS 10.0.0.7:104 -k 'PatientName=Wang*' -k StudyDate=20240101-", "dcmgate find --called PACS 10.0.0.7:104 --level series -k StudyInstanceUID=1.2.3 --json"},
	"move":            {"dcmgate move --called PACS --dest WS1 10.0.0.7:104 -k StudyInstanceUID=1.2.3"},
	"get":             {"dcmgate get --called PACS --out in 10.0.0.7:104 -k StudyInstanceUID=1.2.3"},
	"commit":          {"dcmgate commit --called DCMGATE 10.0.0.2:11112 folder/", "dcmgate commit --called DCMGATE --listen 10.0.0.5:11113 10.0.0.2:11112 --study 1.2.3"},
	"status":          {"dcmgate status", "dcmgate status --watch", "dcmgate status --json"},
	"healthcheck":     {"dcmgate healthcheck", "dcmgate healthcheck --ready --timeout 10s"},
	"reload":          {"dcmgate reload"},
	"queue list":      {"dcmgate queue list -d cloud --state parked", "dcmgate queue list --study 1.2.3 --json"},
	"queue retry":     {"dcmgate queue retry -d cloud", "dcmgate queue retry --state parked --code no-context --reason \"cloud accepts HTJ2K now\""},
	"queue drop":      {"dcmgate queue drop -d old --all --reason \"archive was switched off\""},
	"views status":    {"dcmgate views status"},
	"views init":      {"dcmgate views init --admin file:/etc/dcmgate/secrets/admin-dsn --reader cloud --reader-password file:/etc/dcmgate/secrets/cloud-password"},
	"views rebuild":   {"dcmgate views rebuild --name cloud"},
	"views export":    {"dcmgate views export > studies.csv", "dcmgate views export --view V_DocImage --json"},
	"verify":          {"dcmgate verify", "dcmgate verify --rebuild"},
	"bench":           {"dcmgate bench --dir /var/lib", "dcmgate bench --quick", "dcmgate bench --sizes 20kB,100MB --associations 1,8 --json"},
	"doctor":          {"dcmgate doctor", "dcmgate doctor cloud --timeout 30s"},
	"restore":         {"dcmgate restore 1.2.3 --to PACS", "dcmgate restore 1.2.3 --from cloud"},
	"links revoke":    {"dcmgate links revoke --study 1.2.3", "dcmgate links revoke --all"},
	"images add":      {"dcmgate images add --patient P1 --study 1.2.3 report.pdf photo.jpg"},
	"images list":     {"dcmgate images list"},
	"images withdraw": {"dcmgate images withdraw 42 --reason \"scanned for another patient\""},
	"images verify":   {"dcmgate images verify"},
	"audit":           {"dcmgate audit --since 7d", "dcmgate audit --follow --json"},
	"config check":    {"dcmgate config check /etc/dcmgate/dcmgate.yaml"},
	"config example":  {"dcmgate config example > dcmgate.yaml"},
	"version":         {"dcmgate version", "dcmgate version --json"},
}

// withExamples gives each command its examples.
func withExamples(c *cobra.Command) {
	if lines := examples[strings.TrimPrefix(c.CommandPath(), "dcmgate ")]; lines != nil {
		c.Example = "  " + strings.Join(lines, "\n  ")
	}
	for _, sub := range c.Commands() {
		withExamples(sub)
	}
}
