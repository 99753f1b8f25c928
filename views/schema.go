package views

import (
	"fmt"
	"slices"
	"strings"
)

// Names of what is ours in a database.
const (
	prefix     = "dcmgate_"
	studyTable = prefix + "study"
	imageTable = prefix + "image"
	otherTable = prefix + "image_f"
	stateTable = prefix + "state"

	versionTable = prefix + "schema_version" // goose's

	keyColumn = "RowKey"
)

// extra columns stand behind the standard's in every view.
var extra = []Column{
	{Name: "ChangeSeq", Type: "big", Note: "rises by one with each change of a row of this view; remember the highest one read and ask for what is above it"},
	{Name: "UpdateAt", Type: "datetime", Note: "when the row was changed last"},
	{Name: "Complete", Type: "flag", Note: "V_StudyInfo: 1 when nothing was added to the study for rows.complete_after, else 0. V_DocImage and V_DocImage_F: 1 when the path names the whole file, else 0"},
}

// fileState stands behind extra in V_DocImage.
var fileState = Column{Name: "FileState", Type: "string", Length: 16, Note: "ready; evicted: the bytes were given up after delivery; missing: the instance cannot be read"}

// otherState is the same of V_DocImage_F.
var otherState = Column{Name: "FileState", Type: "string", Length: 16, Note: "ready; withdrawn: the image is not to be shown any more, and FilePath leads nowhere; missing: it cannot be read"}

// internal columns of the tables are in no view.
var internal = []Column{
	{Name: "RowHash", Type: "key"},
	{Name: "Gaps", Type: "string", Length: maxGaps},
	{Name: "Held", Type: "flag"},
	{Name: "LastReceived", Type: "big"}, // Unix milliseconds
}

// table is where the rows of a view are.
type table struct {
	name    string
	view    View
	extra   []Column
	indexes [][]string
}

var (
	studies = &table{
		name: studyTable, view: StudyInfo, extra: extra,
		indexes: [][]string{{"ChangeSeq"}, {"StudyTime"}, {"StudyInstanceUID"}, {"Complete", "LastReceived"}, {"Held"}},
	}
	images = &table{
		name: imageTable, view: DocImage, extra: append(slices.Clone(extra), fileState),
		indexes: [][]string{{"ChangeSeq"}, {"StudyTime"}, {"StudyInstanceUID"}, {"Held"}},
	}
	others = &table{
		name: otherTable, view: DocImageF, extra: append(slices.Clone(extra), otherState),
		indexes: [][]string{{"ChangeSeq"}, {"StudyInstanceUID"}, {"Held"}},
	}
	tables = [...]*table{studies, images, others}
)

// published are the columns of the view.
func (t *table) published() []Column { return append(slices.Clone(t.view.Columns), t.extra...) }

// columns are those of the table.
func (t *table) columns() []Column {
	return slices.Concat([]Column{{Name: keyColumn, Type: "key"}}, t.view.Columns, t.extra, internal)
}

func (t *table) columnNames() []string {
	var names []string
	for _, c := range t.columns() {
		names = append(names, c.Name)
	}
	return names
}

// create lists the statements that make a table and its indexes. Columns that the standard requires may be empty all the
// same: what images lack is published or held back by setting, and noted.
func (t *table) create(d *dialect) []string {
	lines := []string{fmt.Sprintf("%s %s NOT NULL PRIMARY KEY", d.name1(keyColumn), d.types["key"])}
	for _, c := range append(t.published(), internal...) {
		line := d.name1(c.Name) + " " + d.columnType(c)
		if c.Name == "Held" || c.Name == "Complete" {
			line += " NOT NULL"
		}
		lines = append(lines, line)
	}
	out := []string{fmt.Sprintf("CREATE TABLE %s (\n  %s\n)%s", d.name1(t.name), strings.Join(lines, ",\n  "), d.options)}
	for _, columns := range t.indexes {
		name := t.name + "_" + strings.ToLower(strings.Join(columns, "_"))
		out = append(out, fmt.Sprintf("CREATE INDEX %s ON %s (%s)", d.name1(name), d.name1(t.name), d.names(columns)))
	}
	return out
}

// stateColumns of the one record that says how far publishing has come.
var stateColumns = []Column{
	{Name: "SpoolSequence", Type: "big"},               // of the spool's changes
	{Name: "LastInstance", Type: "string", Length: 16}, // that SpoolSequence was about, "" if not known
	{Name: "StudySeq", Type: "big"},                    // the last ChangeSeq of V_StudyInfo
	{Name: "ImageSeq", Type: "big"},                    // of V_DocImage
	{Name: "UpdateAt", Type: "string", Length: 19},     // the last one, which later ones never fall behind
	{Name: "Scan", Type: "flag"},                       // everything is to be read from the spool once
}

// otherStateColumns came with images that are not DICOM.
var otherStateColumns = []Column{
	{Name: "OtherSequence", Type: "big"},             // of the changes of images that are not DICOM
	{Name: "OtherStore", Type: "string", Length: 32}, // whose changes they are, "" before the first
	{Name: "OtherSeq", Type: "big"},                  // the last ChangeSeq of V_DocImage_F
}

func createState(d *dialect) []string {
	lines := []string{d.name1("Id") + " INT NOT NULL PRIMARY KEY"}
	for _, c := range stateColumns {
		lines = append(lines, d.name1(c.Name)+" "+d.columnType(c)+" NOT NULL")
	}
	return []string{
		fmt.Sprintf("CREATE TABLE %s (\n  %s\n)%s", d.name1(stateTable), strings.Join(lines, ",\n  "), d.options),
		fmt.Sprintf("INSERT INTO %s VALUES (1, 0, '', 0, 0, '', 1)", d.name1(stateTable)),
	}
}

// schema lists the statements of the first version of the tables.
func schema(d *dialect) []string {
	var out []string
	for _, t := range []*table{studies, images} {
		out = append(out, t.create(d)...)
	}
	return append(out, createState(d)...)
}

// schemaOthers lists the statements that add images that are not DICOM.
func schemaOthers(d *dialect) []string {
	out := others.create(d)
	for _, c := range otherStateColumns {
		initial := "0"
		if c.Type == "string" {
			initial = "''"
		}
		out = append(out, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s NOT NULL DEFAULT %s", d.name1(stateTable), d.name1(c.Name), d.columnType(c), initial))
	}
	return out
}

// createView defines a view. With lower, its name and columns are in lower case: what PostgreSQL makes of names without
// quotes. With asText, dates and times are text as the standard writes them (errata 31).
func (t *table) createView(d *dialect, lower, asText bool) string {
	var columns []string
	for _, c := range t.published() {
		value, name := d.name1(c.Name), c.Name
		if asText && c.Type == "date" {
			value = fmt.Sprintf(d.dateText, value)
		} else if asText && c.Type == "datetime" {
			value = fmt.Sprintf(d.timeText, value)
		}
		if lower {
			name = strings.ToLower(name)
		}
		columns = append(columns, value+" AS "+d.name1(name))
	}
	return fmt.Sprintf("%s %s AS SELECT %s FROM %s WHERE %s = 0", d.replace, d.name1(t.viewName(lower)), strings.Join(columns, ", "), d.name1(t.name), d.name1("Held"))
}

func (t *table) viewName(lower bool) string {
	if lower {
		return strings.ToLower(t.view.Name)
	}
	return t.view.Name
}
