package qr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dcmgate/dicom"
)

// matcher compares a key with the values of an attribute that an instance has; of several one has to match
// (PS3.4 C.2.2.2.1).
type matcher func(values []string) bool

// keyError is a key whose value is not one that its VR can be matched with.
type keyError struct {
	tag    dicom.Tag
	reason string
}

func (e *keyError) Error() string { return fmt.Sprintf("%v: %s", e.tag, e.reason) }

// isUniversal tells a key that matches everything (PS3.4 C.2.2.2.3): one without a value, or of nothing but asterisks.
func (a *Attribute) isUniversal() bool {
	for _, v := range a.Values {
		if strings.Trim(v, "*") != "" {
			return false
		}
	}
	for _, item := range a.Items {
		for i := range item {
			if !item[i].isUniversal() {
				return false
			}
		}
	}
	return true
}

// newMatcher makes the matcher of a key that is not universal. Several values of a key other than a UID are more than the
// standard defines; any of them matches.
func newMatcher(a *Attribute, fuzzy bool) (matcher, error) {
	var each []func(string) bool
	for _, v := range a.Values {
		if v == "" {
			continue
		}
		one, err := matchOne(a, v, fuzzy)
		if err != nil {
			return nil, err
		}
		each = append(each, one)
	}
	return func(values []string) bool {
		return slices.ContainsFunc(values, func(v string) bool {
			return v != "" && slices.ContainsFunc(each, func(one func(string) bool) bool { return one(v) })
		})
	}, nil
}

// matchOne makes the matcher of one value of a key, by VR (PS3.4 C.2.2.2).
func matchOne(a *Attribute, want string, fuzzy bool) (func(string) bool, error) {
	switch a.VR {
	case "DA", "TM", "DT":
		return matchSpan(a, want)
	case "UI", "AS", "AT":
		return func(v string) bool { return v == want }, nil
	case "IS", "DS", "US", "SS", "UL", "SL", "FL", "FD":
		return matchNumber(a, want)
	case "PN":
		if fuzzy {
			return newFuzzyMatcher(want).match, nil
		}
		return newNameMatcher(want).match, nil
	case "AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT":
		return func(v string) bool { return matchWildcards(want, v) }, nil
	}
	return nil, &keyError{a.Tag, "cannot be matched with VR " + a.VR}
}

func matchSpan(a *Attribute, want string) (func(string) bool, error) {
	s, ok := parseSpan(want, a.VR)
	if !ok {
		return nil, &keyError{a.Tag, "neither a value nor a range of VR " + a.VR}
	}
	parse := momentOf(a.VR)
	return func(v string) bool {
		moment, ok := parse(v)
		return ok && s.holds(moment)
	}, nil
}

// matchNumber compares numbers and not how they are written: 007 is 7.
func matchNumber(a *Attribute, want string) (func(string) bool, error) {
	n, err := strconv.ParseFloat(want, 64)
	if err != nil {
		return nil, &keyError{a.Tag, "not a number"}
	}
	return func(v string) bool {
		m, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return err == nil && m == n
	}, nil
}

// matchWildcards compares with * for any characters, none included, and ? for one (PS3.4 C.2.2.2.4). All other characters
// stand for themselves.
func matchWildcards(pattern, text string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == text
	}
	p, t := []rune(pattern), []rune(text)
	star, back := -1, 0 // the last asterisk, and where what it stands for ends
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, back = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			back++
			i, j = star+1, back
		default:
			return false
		}
	}
	return strings.Trim(string(p[i:]), "*") == ""
}

// literalPrefix is what everything that a pattern matches begins with; whole tells that there are no wildcards.
func literalPrefix(pattern string) (prefix string, whole bool) {
	i := strings.IndexAny(pattern, "*?")
	if i < 0 {
		return pattern, true
	}
	return pattern[:i], false
}
