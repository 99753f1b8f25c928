package gateway

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// exampleLine matches a line of the reference that is commented out: a hash
// followed by a key, a dash or deeper indentation, but not by a sentence.
var exampleLine = regexp.MustCompile(`(?m)^#(\s{2,}|[a-z])`)

// activateExamples removes the hash of every example line.
func activateExamples(reference string) string {
	return exampleLine.ReplaceAllStringFunc(reference, func(s string) string { return s[1:] })
}

func TestReferenceIsTheDefault(t *testing.T) {
	got, err := Parse("", []byte(Reference))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("", nil)
	if err != nil {
		t.Fatal(err)
	}
	got.Notes, want.Notes = nil, nil
	got.raw, want.raw = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the reference's values differ from the defaults\nreference %+v\ndefault   %+v", got, want)
	}
}

func TestReferenceDestinationHasTheDefaults(t *testing.T) {
	got, err := Parse("", []byte(activateExamples(Reference)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("", []byte("destinations: [{name: cloud, ae_title: CLOUD, address: '10.1.0.9:104'}]"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Destinations, want.Destinations) {
		t.Errorf("reference %+v\ndefault   %+v", got.Destinations, want.Destinations)
	}
	want, err = Parse("", []byte("upstreams: [{name: pacs, ae_title: PACS, address: '10.0.0.9:104', from: [10.0.0.9]}]"))
	if err != nil || !reflect.DeepEqual(got.Upstreams, want.Upstreams) {
		t.Errorf("reference %+v\ndefault   %+v, %v", got.Upstreams, want.Upstreams, err)
	}
	want, err = Parse("", []byte("drop: [{name: cd, folder: /srv/dcmgate/drop, calling_ae_title: CDIMPORT}]"))
	if err != nil || !reflect.DeepEqual(got.Drop, want.Drop) {
		t.Errorf("reference %+v\ndefault   %+v, %v", got.Drop, want.Drop, err)
	}
	if len(got.Peers) != 1 || len(got.Views) != 1 || len(got.Retrieve.Clients) != 1 {
		t.Errorf("examples missing: %d peers, %d views, %d clients", len(got.Peers), len(got.Views), len(got.Retrieve.Clients))
	}
}

// TestReferenceNamesEveryKey compares the keys of the reference with those of
// the raw structs, both ways, and wants a comment above each.
func TestReferenceNamesEveryKey(t *testing.T) {
	text := activateExamples(Reference)
	tree, err := parser.ParseBytes([]byte(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	collectKeys(tree.Docs[0].Body, "", got)
	lines := strings.Split(text, "\n")
	for _, key := range rawKeys(reflect.TypeFor[rawConfig](), "") {
		line, ok := got[key]
		if !ok {
			t.Errorf("reference.yaml lacks %s", key)
			continue
		}
		delete(got, key)
		above := strings.TrimSpace(lines[line-2])
		shared := key == "destinations.tls.key" || key == "upstreams.tls.key" || key == "peers.tls.key" || key == "retrieve.clients.access_key"
		if !strings.HasPrefix(above, "#") && !shared {
			t.Errorf("reference.yaml:%d: %s has no comment above it", line, key)
		}
	}
	for key, line := range got {
		t.Errorf("reference.yaml:%d: %s is not a key", line, key)
	}
}

func collectKeys(n ast.Node, path string, into map[string]int) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			collectKeys(v, path, into)
		}
	case *ast.MappingValueNode:
		key := join(path, n.Key.GetToken().Value)
		into[key] = n.Key.GetToken().Position.Line
		collectKeys(n.Value, key, into)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			collectKeys(v, path, into)
		}
	}
}

func rawKeys(t reflect.Type, path string) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		keys = append(keys, join(path, key))
		inner := f.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner != reflect.TypeFor[value]() {
			keys = append(keys, rawKeys(inner, join(path, key))...)
		}
	}
	return keys
}

// TestMistakes reads every testdata/config/NAME.yaml and wants the messages in
// NAME.err, one per line.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(filepath.Base(file), data)
			got := ""
			if err != nil {
				got = err.Error() + "\n"
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".err"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// designExample is the configuration contract's example, which outside tools
// rely on.
const designExample = `
ae_title: DCMGATE
data_dir: /var/lib/dcmgate
institution:
  code: "91511000XXXXXXXXXX"
  name: 内江市示例医院
  platform_code: "05871212"
dicom:
  listen: 127.0.0.1:11112
  accept: known
  max_associations: 100
http:
  listen: 127.0.0.1:8080
public:
  listen: 127.0.0.1:8081
peers:
  - ae_title: CT1
    address: 10.0.0.5:104
    allow: [store, query, retrieve, commit]
destinations:
  - name: cloud
    ae_title: CLOUD
    address: 10.1.0.9:104
    associations: 4
views:
  - name: cloud
    dsn: postgres://...
retrieve:
  signature: md5
  clients:
    - {access_key: k, access_secret: s}
`

func TestContractExampleIsValid(t *testing.T) {
	cfg, err := Parse("dcmgate.yaml", []byte(designExample))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Institution.Name != "内江市示例医院" || cfg.Institution.PlatformCode != "05871212" {
		t.Errorf("institution %+v", cfg.Institution)
	}
	notes := strings.Join(cfg.Notes, "\n")
	for _, want := range []string{
		"views[0].dsn: whoever can read this file can read this secret",
		"retrieve.clients[0].access_secret: whoever",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes lack %q:\n%s", want, notes)
		}
	}
}

func TestNumbersKeepTheirZeros(t *testing.T) {
	cfg, err := Parse("", []byte("institution: {platform_code: 0581, code: }\n"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Institution.PlatformCode != "0581" {
		t.Errorf("platform code %q, want 0581", cfg.Institution.PlatformCode)
	}
}

func TestDefaultsWithAndWithoutFile(t *testing.T) {
	if d := Default(); d.DICOM.Accept != AcceptAny || d.Source != "" || d.DataDir != "./dcmgate-data" || d.DICOM.Listen != "127.0.0.1:11112" {
		t.Errorf("default %+v", d)
	}
	for _, text := range []string{"", "# nothing\n", "dicom:\n", "dicom:\n  # listen: x\n", "---\n"} {
		cfg, err := Parse("dcmgate.yaml", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if cfg.DICOM.Accept != AcceptKnown || cfg.DICOM.Window != 16 {
			t.Errorf("%q: accept %q, window %d", text, cfg.DICOM.Accept, cfg.DICOM.Window)
		}
	}
}

func TestLoad(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	if err == nil || !strings.Contains(err.Error(), "config example") {
		t.Errorf("got %v, want a hint at config example", err)
	}
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#\n"), maxConfigSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(large); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Reference))
	f.Add([]byte(designExample))
	f.Add([]byte("dicom: [a, {b: c}]\npeers: {x: *y}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxConfigSize {
			return
		}
		if _, err := Parse("f", data); err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
	})
}
