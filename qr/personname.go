package qr

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// nameMatcher matches person names (PS3.4 C.2.2.2.1, C.2.2.2.4) without regard to case. A pattern of one component group
// is compared with each group of the name, alphabetic, ideographic and phonetic; one of several with each its own.
type nameMatcher struct{ groups []string }

func newNameMatcher(pattern string) nameMatcher {
	m := nameMatcher{groups: nameGroups(pattern)}
	return m
}

func (m nameMatcher) match(name string) bool {
	groups := nameGroups(name)
	if len(m.groups) == 1 {
		for _, g := range groups {
			if g != "" && matchGroup(m.groups[0], g) {
				return true
			}
		}
		return false
	}
	for i, want := range m.groups {
		if want == "" {
			continue
		}
		if i >= len(groups) || !matchGroup(want, groups[i]) {
			return false
		}
	}
	return true
}

// nameGroups divides a name into its component groups, in the form in which they are compared: upper case, single spaces,
// and nothing of the components at the end that are empty.
func nameGroups(name string) []string {
	groups := strings.Split(name, "=")
	for i, g := range groups {
		groups[i] = strings.TrimRight(strings.Join(strings.Fields(strings.ToUpper(g)), " "), "^ ")
	}
	for len(groups) > 1 && groups[len(groups)-1] == "" {
		groups = groups[:len(groups)-1]
	}
	return groups
}

// matchGroup compares with what is there and with the empty components that PS3.5 6.2.1 lets be left out: WANG^* is to
// find WANG.
func matchGroup(pattern, group string) bool {
	if matchWildcards(pattern, group) {
		return true
	}
	missing := strings.Count(pattern, "^") - strings.Count(group, "^")
	return missing > 0 && matchWildcards(pattern, group+strings.Repeat("^", missing))
}

// fuzzyMatcher is the fuzzy semantic matching of person names that extended negotiation can ask for (PS3.4 C.2.2.2.1.1,
// which leaves to the SCP what it is): without regard to case, to accents and other marks, and to the order of the parts,
// each part of the pattern has to be a part of the name. Wildcards count within a part.
type fuzzyMatcher struct{ parts []string }

func newFuzzyMatcher(pattern string) fuzzyMatcher { return fuzzyMatcher{nameParts(pattern)} }

func (m fuzzyMatcher) match(name string) bool {
	parts := nameParts(name)
	for _, want := range m.parts {
		found := false
		for _, part := range parts {
			found = found || matchWildcards(want, part)
		}
		if !found {
			return false
		}
	}
	return true
}

// nameParts divides a name into its words, without case and marks.
func nameParts(name string) []string {
	plain := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, norm.NFD.String(name))
	return strings.FieldsFunc(plain, func(r rune) bool { return strings.ContainsRune("^= ,.-'", r) })
}
