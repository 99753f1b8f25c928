package gateway

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// value is one scalar of the configuration file: its text exactly as written
// (0581 keeps its zero, 1.50 its digits) and where it stands, so that
// validation can point at it long after parsing.
type value struct {
	Text string
	Set  bool // written in the file, not filled in from the default
	at   place
}

// stanza is embedded in every raw mapping and tells where it stands, for
// errors about keys that are missing from it.
type stanza struct {
	at  place
	set bool
}

func (s *stanza) locate(at place, set bool) { *s = stanza{at: at, set: set} }
func (s *stanza) where() place              { return s.at }

// place is a position in the configuration file and the path of keys to it.
type place struct {
	line, column int
	path         string
}

// binder fills a raw struct from a syntax tree. It is used instead of the YAML
// library's own decoder because that one loses the text of numbers and the
// position of everything, and stops at the first error; the technician wants
// them all at once.
type binder struct {
	file string
	errs []error
}

// parseYAML parses data into the raw struct that dst points to. All errors
// found are returned, in the order of the file.
func parseYAML(file string, data []byte, dst any) []error {
	b := &binder{file: file}
	data, err := plainText(file, data)
	if err != nil {
		return []error{err}
	}
	tokens := lexer.Tokenize(string(data))
	if t, why := implausible(tokens); t != nil {
		b.fail(placeOfToken(t, ""), "%s; is this the right file? Compare with `dcmgate config example`", why)
		return b.errs
	}
	tree, err := parser.Parse(tokens, 0)
	if err != nil {
		b.syntax(err)
		return b.errs
	}
	var root ast.Node
	for i, doc := range tree.Docs {
		if i > 0 && doc.Body != nil {
			b.fail(placeOf(doc.Body, ""), "a second document; one file holds one configuration")
			return b.errs
		}
		root = doc.Body
	}
	b.bind(root, reflect.ValueOf(dst).Elem(), place{line: 1, column: 1})
	return b.errs
}

func (b *binder) syntax(err error) {
	if e, ok := err.(yaml.Error); ok && e.GetToken() != nil {
		b.fail(placeOfToken(e.GetToken(), ""), "%s", syntaxMessage(e.GetMessage()))
		return
	}
	b.errs = append(b.errs, fmt.Errorf("%s: %w", b.file, err))
}

// fail records one error in the form FILE:LINE:COLUMN: PATH: MESSAGE.
func (b *binder) fail(at place, format string, args ...any) {
	b.errs = append(b.errs, &ConfigError{
		File: b.file, Line: at.line, Column: at.column, Path: at.path, Message: fmt.Sprintf(format, args...),
	})
}

func (b *binder) bind(n ast.Node, dst reflect.Value, at place) {
	switch node := n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		b.fail(at, "anchors, aliases, tags and merge keys are not used here; write the value out")
		return
	case *ast.NullNode:
		// A stanza whose keys are all commented out.
		n = nil
	case *ast.CommentGroupNode:
		n = nil // a file of nothing but comments
	case *ast.MappingValueNode:
		n = ast.Mapping(node.Start, false, node)
	}
	switch {
	case dst.Type() == reflect.TypeFor[value]():
		b.bindValue(n, dst.Addr().Interface().(*value), at)
	case dst.Kind() == reflect.Slice:
		b.bindList(n, dst, at)
	default:
		b.bindStruct(n, dst, at)
	}
}

func (b *binder) bindValue(n ast.Node, dst *value, at place) {
	dst.at = at
	if n == nil {
		return
	}
	switch node := n.(type) {
	case *ast.StringNode:
		dst.Text = node.Value
	case *ast.LiteralNode:
		dst.Text = node.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		dst.Text = strings.TrimSpace(n.GetToken().Value)
	default:
		b.fail(at, "takes one value, not a %s", kindOf(n))
		return
	}
	dst.Set = true
}

func (b *binder) bindList(n ast.Node, dst reflect.Value, at place) {
	if n == nil {
		return
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		b.fail(at, "takes a list, not a %s; write each entry after a dash", kindOf(n))
		return
	}
	if len(list.Values) > maxListEntries {
		b.fail(at, "has %d entries; at most %d are allowed", len(list.Values), maxListEntries)
		return
	}
	dst.Set(reflect.MakeSlice(dst.Type(), len(list.Values), len(list.Values)))
	for i, entry := range list.Values {
		b.bind(entry, dst.Index(i), placeOf(entry, fmt.Sprintf("%s[%d]", at.path, i)))
	}
}

// unspaced says what is missing where a value in place of keys and values is one pair of them without the space.
func unspaced(n ast.Node) string {
	if s, ok := n.(*ast.StringNode); ok && strings.Contains(s.Value, ":") {
		return "; write KEY: VALUE, with a space after the colon"
	}
	return ""
}

func (b *binder) bindStruct(n ast.Node, dst reflect.Value, at place) {
	if s, ok := dst.Addr().Interface().(interface{ locate(place, bool) }); ok {
		s.locate(at, n != nil)
	}
	var values []*ast.MappingValueNode
	if n != nil {
		m, ok := n.(*ast.MappingNode)
		if !ok {
			b.fail(at, "takes keys and values, not a %s%s", kindOf(n), unspaced(n))
			return
		}
		values = m.Values
	}
	given := make(map[string]*ast.MappingValueNode, len(values))
	for _, v := range values {
		key := v.Key.GetToken().Value
		given[key] = v
		if _, ok := fieldByKey(dst.Type(), key); !ok {
			advice := "" // what nobody will read is not thought about
			if len(b.errs) < maxMistakes {
				advice = suggest(key, dst.Type())
			}
			b.fail(placeOf(v.Key, join(at.path, key)), "unknown key%s", advice)
		}
	}
	for i := range dst.NumField() {
		f := dst.Type().Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		if v, ok := given[key]; ok {
			b.bind(v.Value, dst.Field(i), placeOf(v.Key, join(at.path, key)))
		} else {
			b.bind(nil, dst.Field(i), place{at.line, at.column, join(at.path, key)})
		}
		setDefault(dst.Field(i), f.Tag.Get("default"))
	}
}

// setDefault fills in the default of a scalar the file does not set.
func setDefault(dst reflect.Value, text string) {
	if dst.Type() != reflect.TypeFor[value]() {
		return
	}
	if v := dst.Addr().Interface().(*value); !v.Set {
		v.Text = text
	}
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); key != "" && f.Tag.Get("yaml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("yaml"); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func placeOf(n ast.Node, path string) place {
	switch m := n.(type) {
	case nil:
		return place{path: path}
	case *ast.MappingNode:
		// Its own token is the first colon; people look for the first key.
		if len(m.Values) > 0 {
			return placeOf(m.Values[0].Key, path)
		}
	case *ast.MappingValueNode:
		return placeOf(m.Key, path)
	}
	return placeOfToken(n.GetToken(), path)
}

func placeOfToken(t *token.Token, path string) place {
	if t == nil || t.Position == nil {
		return place{path: path}
	}
	return place{line: t.Position.Line, column: t.Position.Column, path: path}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// kindOf names a node's kind in the words of the messages.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.SequenceNode:
		return "list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "mapping"
	default:
		return "single value"
	}
}

// suggest says for an unknown key of a mapping which one may be meant: the
// nearest of those known there, or the same one of another mapping.
func suggest(key string, t reflect.Type) string {
	known := keysOf(t)
	best, distance := "", 1+min(len(key)/2, 2)
	for _, k := range known {
		if d := editDistance(strings.ToLower(key), k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	if elsewhere := pathsOf(key, reflect.TypeFor[rawConfig](), ""); len(elsewhere) > 0 {
		return " in this place; it is known as " + strings.Join(elsewhere, ", ") + ": indent it below the one that is meant"
	}
	return "; known here are " + strings.Join(known, ", ")
}

// pathsOf returns the paths below t at which key is known, as far as that is
// not within a mapping that holds it already.
func pathsOf(key string, t reflect.Type, path string) []string {
	for t.Kind() == reflect.Slice {
		t, path = t.Elem(), path+"[]"
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	if _, ok := fieldByKey(t, key); ok {
		return []string{join(path, key)}
	}
	var paths []string
	for i := range t.NumField() {
		if k := t.Field(i).Tag.Get("yaml"); k != "" {
			paths = append(paths, pathsOf(key, t.Field(i).Type, join(path, k))...)
		}
	}
	return paths
}

// editDistance is Levenshtein's distance between two short strings.
func editDistance(a, b string) int {
	if len(a) > maxKeyLength {
		return maxKeyLength
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
