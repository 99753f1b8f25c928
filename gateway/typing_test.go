package gateway

import (
	"strings"
	"testing"
)

// TestEncodings gives the same configuration in the encodings that editors
// write: UTF-8 alone is taken, with or without a byte order mark and whatever
// ends its lines.
func TestEncodings(t *testing.T) {
	const hospital = "ae_title: GW\ninstitution:\n  name: 内江\n"
	gbk := "ae_title: GW\ninstitution:\n  name: \xC4\xDA\xBD\xAD\n"
	tests := []struct{ name, data, err string }{
		{"UTF-8", hospital, ""},
		{"byte order mark", "\uFEFF" + hospital, ""},
		{"lines of Windows", strings.ReplaceAll(hospital, "\n", "\r\n"), ""},
		{"both", "\uFEFF" + strings.ReplaceAll(hospital, "\n", "\r\n"), ""},
		{"byte order mark and a mistake", "\uFEFFae_titel: GW\n", "x.yaml:1:1: ae_titel: unknown key; did you mean ae_title?"},
		{"GBK", gbk, "x.yaml:3:9: this is not UTF-8, but GBK or another encoding; save the file as UTF-8, or convert it: iconv -f GB18030 -t UTF-8"},
		{"GBK in a comment", "# \xCD\xF8\xB9\xD8\n", "x.yaml:1:3: this is not UTF-8"},
		{"UTF-16 little endian", "\xFF\xFEa\x00", "x.yaml:1:1: the file is in UTF-16; save it as UTF-8"},
		{"UTF-16 big endian", "\xFE\xFF\x00a", "x.yaml:1:1: the file is in UTF-16; save it as UTF-8"},
		{"cut within a character", "institution:\n  name: \xE5\x86", "x.yaml:2:9: this is not UTF-8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := Parse("x.yaml", []byte(test.data))
			switch {
			case test.err == "" && (err != nil || cfg.AETitle != "GW" || cfg.Institution.Name != "内江"):
				t.Errorf("got %q, %q, %v", cfg.AETitle, cfg.Institution.Name, err)
			case test.err != "" && (err == nil || !strings.HasPrefix(err.Error(), test.err)):
				t.Errorf("got %v, want %s", err, test.err)
			}
		})
	}
}
