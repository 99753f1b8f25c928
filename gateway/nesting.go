package gateway

import (
	"strings"

	"github.com/goccy/go-yaml/token"
)

// Bounds of what is read and told of a file that is none of ours, such as one
// copied over the configuration by mistake. What the YAML parser takes grows
// with the square of nesting and keys: minutes and gigabytes for a megabyte.
const (
	maxNesting  = 32
	maxKeys     = 1000 // of one mapping
	maxMistakes = 100  // that are told one by one
	maxQuoted   = 600  // bytes of a message or a path
)

// implausible finds the first token that no configuration has, and says why;
// nil if there is none.
func implausible(tokens token.Tokens) (*token.Token, string) {
	keys := make(map[int]int) // of the mappings under way: by column, or by brackets below 0
	brackets, marks, line := 0, 0, 0
	for i, t := range tokens {
		if t.Position.Line != line {
			marks, line = 0, t.Position.Line
			for column := range keys {
				if column > t.Position.Column {
					delete(keys, column)
				}
			}
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
			delete(keys, -brackets)
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			marks++ // each nests, if on one line
		case token.MappingValueType:
			mapping := -brackets
			if brackets <= 0 && i > 0 {
				mapping = tokens[i-1].Position.Column
			}
			keys[mapping]++
			if keys[mapping] > maxKeys {
				return t, "more keys in one mapping than a configuration has"
			}
		}
		if brackets > maxNesting || marks > maxNesting {
			return t, "deeper nested than any key is"
		}
	}
	return nil, ""
}

// abridged leaves out the middle of what is too long to be read.
func abridged(text string) string {
	if len(text) <= maxQuoted {
		return text
	}
	const half = maxQuoted / 2
	return strings.ToValidUTF8(text[:half], "") + " … " + strings.ToValidUTF8(text[len(text)-half:], "")
}
