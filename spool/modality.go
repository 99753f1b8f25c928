package spool

// Bounds of the y keys of a study: of its first modalities, each with its first dates. A study with more has one under no
// modality, too, where every query by modality looks.
const (
	maxKeyModalities = 16
	maxKeyDates      = 4
)

// modalityPrefix begins the y keys of a modality.
func modalityPrefix(modality string) []byte {
	return append(append([]byte{kindModality}, foldText(modality)...), 0)
}

// modalityKeys lists the y keys of a study as it is now: of each modality with each date, or with none if there is none.
func (r *studyRecord) modalityKeys(id hash8) [][]byte {
	dates := r.dates()
	if len(dates) == 0 {
		dates = []string{""}
	}
	return r.modalityKeysOf(dates, id)
}

// allModalityKeys lists the y keys that a study has ever had.
func (r *studyRecord) allModalityKeys(id hash8) [][]byte {
	return append(r.modalityKeysOf(r.dates(), id), r.modalityKeysOf([]string{""}, id)...)
}

func (r *studyRecord) dates() (dates []string) {
	for _, k := range r.textKeys {
		if k[0] == kindDate {
			dates = append(dates, k[1:])
		}
	}
	return dates
}

func (r *studyRecord) modalityKeysOf(dates []string, id hash8) (keys [][]byte) {
	modalities := r.modalities
	if len(modalities) > maxKeyModalities || len(dates) > maxKeyDates {
		modalities, dates = modalities[:min(len(modalities), maxKeyModalities)], dates[:min(len(dates), maxKeyDates)]
		keys = append(keys, append(append(modalityPrefix(""), 0), id[:]...))
	}
	for _, m := range modalities {
		for _, d := range dates {
			keys = append(keys, append(append(append(modalityPrefix(m), d...), 0), id[:]...))
		}
	}
	return keys
}
