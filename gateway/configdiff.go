package gateway

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// change is a key whose value, or the file that it names, is another than before.
type change struct {
	key  string // as followers name it: destinations.rate
	at   string // as people do: destinations[cloud].rate
	what string // has become of it, if it is not just another value: added
}

// changes are what differs between two configurations.
type changes []change

// touch reports whether one of the keys, or something in the stanza that it
// names, has changed.
func (c changes) touch(keys ...string) bool {
	return slices.ContainsFunc(c, func(c change) bool { return isUnder(c.key, keys) })
}

// touchAt is touch where one entry of a list is meant: destinations[cloud].tls.
func (c changes) touchAt(places ...string) bool {
	return slices.ContainsFunc(c, func(c change) bool { return isUnder(c.at, places) })
}

// under are the changes of some keys.
func (c changes) under(keys ...string) (some changes) {
	for _, x := range c {
		if isUnder(x.key, keys) {
			some = append(some, x)
		}
	}
	return some
}

// words describe the changes, each once, in the order of the file.
func (c changes) words() []string {
	list := []string{}
	for _, x := range c {
		text := strings.TrimSuffix(x.at+" "+x.what, " ")
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// isUnder reports whether a key is one of those given or in a stanza of them.
func isUnder(key string, stanzas []string) bool {
	return slices.ContainsFunc(stanzas, func(s string) bool {
		rest, ok := strings.CutPrefix(key, s)
		return ok && (rest == "" || rest[0] == '.')
	})
}

// difference compares two configurations key by key, and the digests of the
// files that they name.
func difference(old, new *settings) changes {
	d := &differ{old: old.contents, new: new.contents}
	d.stanza(reflect.ValueOf(old.raw).Elem(), reflect.ValueOf(new.raw).Elem(), "", "")
	return d.found
}

// differ collects changes.
type differ struct {
	old, new contents
	found    changes
}

func (d *differ) note(key, at, what string) { d.found = append(d.found, change{key, at, what}) }

// compare looks at what one key holds. key and shown are the two ways to write it.
func (d *differ) compare(old, new reflect.Value, key, shown string) {
	switch {
	case old.Type() == reflect.TypeFor[value]():
		d.value(old.Interface().(value), new.Interface().(value), key, shown)
	case old.Kind() != reflect.Slice:
		d.stanza(old, new, key, shown)
	case old.Type().Elem() == reflect.TypeFor[value]():
		if old.IsNil() != new.IsNil() || !slices.Equal(textsOf(old), textsOf(new)) {
			d.note(key, shown, "")
		}
	default:
		d.list(old, new, key, shown)
	}
}

func (d *differ) value(old, new value, key, shown string) {
	switch {
	case old.Text != new.Text:
		d.note(key, shown, "")
	case d.old[old.at.path] != d.new[new.at.path]:
		d.note(key, shown, "(contents of the file)")
	}
}

func (d *differ) stanza(old, new reflect.Value, key, shown string) {
	for i := range old.NumField() {
		if name := old.Type().Field(i).Tag.Get("yaml"); name != "" {
			d.compare(old.Field(i), new.Field(i), join(key, name), join(shown, name))
		}
	}
}

// list compares two lists of stanzas, which are told by their first value: the
// name of a destination, the AE title of a peer.
func (d *differ) list(old, new reflect.Value, key, shown string) {
	before, after := namesOf(old), namesOf(new)
	same := true
	for i, name := range before {
		at := shown + "[" + name + "]"
		if j := slices.Index(after, name); j >= 0 {
			d.compare(old.Index(i), new.Index(j), key, at)
		} else {
			same = false
			d.note(key, at, "removed")
		}
	}
	for _, name := range after {
		if !slices.Contains(before, name) {
			same = false
			d.note(key, shown+"["+name+"]", "added")
		}
	}
	if same && (!slices.Equal(before, after) || old.IsNil() != new.IsNil()) {
		d.note(key, shown, "in another order")
	}
}

// namesOf tells the stanzas of a list apart: by name, or by number where that is
// not enough.
func namesOf(list reflect.Value) []string {
	names := make([]string, list.Len())
	for i := range names {
		if names[i] = firstValue(list.Index(i)); names[i] == "" || slices.Contains(names[:i], names[i]) {
			names[i] += "#" + strconv.Itoa(i)
		}
	}
	return names
}

// firstValue is the text of the first key of a stanza, "" if that takes a list.
func firstValue(stanza reflect.Value) string {
	for i := range stanza.NumField() {
		if stanza.Type().Field(i).Tag.Get("yaml") != "" {
			v, _ := stanza.Field(i).Interface().(value)
			return v.Text
		}
	}
	return ""
}

func textsOf(list reflect.Value) []string {
	texts := make([]string, list.Len())
	for i := range texts {
		texts[i] = list.Index(i).Interface().(value).Text
	}
	return texts
}
