package dicom

// vr is a value representation of PS3.5 6.2 as far as its encoding goes.
type vr struct {
	name string
	// long tells that the explicit encoding has two reserved bytes and a
	// 32-bit length (PS3.5 table 7.1-1), not a 16-bit length (table 7.1-2).
	long bool
	// text tells that the value is made of characters.
	text bool
	// fixed tells that the characters of the value are those of the default
	// repertoire whatever Specific Character Set says (PS3.5 6.1.2.2).
	fixed bool
	// open tells that the value may have undefined length.
	open bool
}

// vrs is PS3.5 table 6.2-1.
var vrs = [...]vr{
	{}, // what is not a VR
	{name: "AE", text: true, fixed: true},
	{name: "AS", text: true, fixed: true},
	{name: "AT"},
	{name: "CS", text: true, fixed: true},
	{name: "DA", text: true, fixed: true},
	{name: "DS", text: true, fixed: true},
	{name: "DT", text: true, fixed: true},
	{name: "FD"},
	{name: "FL"},
	{name: "IS", text: true, fixed: true},
	{name: "LO", text: true},
	{name: "LT", text: true},
	{name: "OB", long: true, open: true},
	{name: "OD", long: true},
	{name: "OF", long: true},
	{name: "OL", long: true},
	{name: "OV", long: true},
	{name: "OW", long: true, open: true},
	{name: "PN", text: true},
	{name: "SH", text: true},
	{name: "SL"},
	{name: "SQ", long: true, open: true},
	{name: "SS"},
	{name: "ST", text: true},
	{name: "SV", long: true},
	{name: "TM", text: true, fixed: true},
	{name: "UC", long: true, text: true},
	{name: "UI", text: true, fixed: true},
	{name: "UL"},
	{name: "UN", long: true, open: true},
	{name: "UR", long: true, text: true, fixed: true},
	{name: "US"},
	{name: "UT", long: true, text: true},
	{name: "UV", long: true},
}

// vrIndex finds a VR's place in vrs by its two letters: 26*first+second.
var vrIndex = func() (index [26 * 26]uint8) {
	for i, v := range vrs[1:] {
		index[26*int(v.name[0]-'A')+int(v.name[1]-'A')] = uint8(i + 1)
	}
	return index
}()

// vrOf returns the VR that the two bytes name; ok is false if they name none.
func vrOf(a, b byte) (v *vr, ok bool) {
	if !upper(a) || !upper(b) {
		return &vrs[0], false
	}
	i := vrIndex[26*int(a-'A')+int(b-'A')]
	return &vrs[i], i != 0
}

func upper(c byte) bool { return 'A' <= c && c <= 'Z' }
