package synth

import (
	"fmt"
	"time"
)

// StudiesPerDay is how many studies of [Study] have one Study Date.
const StudiesPerDay = 1000

// StudyFields are the elements of a study of one instance, for indexes of many.
type StudyFields struct {
	StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID string
	PatientName, PatientID, PatientBirthDate            string
	AccessionNumber, StudyID, StudyDate, StudyTime      string
	Modality, StudyDescription, InstitutionName         string
}

// Study describes study n of an archive as a large hospital fills it: StudiesPerDay a day from 2020 on, four of a patient, and
// twenty of a family name. One of 1000 is XA, the others are CT, MR, US and DX.
func Study(n int) StudyFields {
	modality := [...]string{"CT", "MR", "US", "DX", "DX"}[n%5]
	if n%1000 == 999 {
		modality = "XA"
	}
	uid := fmt.Sprintf("1.2.826.0.1.3680043.10.543.%d", n)
	day := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n/StudiesPerDay)
	return StudyFields{
		StudyInstanceUID: uid, SeriesInstanceUID: uid + ".1", SOPInstanceUID: uid + ".1.1",
		PatientName: fmt.Sprintf("FAM%06d^GIVEN%d", n/20, n%20/4), PatientID: fmt.Sprintf("P%07d", n/4), PatientBirthDate: fmt.Sprintf("19%02d0615", n/4%100),
		AccessionNumber: fmt.Sprintf("A%08d", n), StudyID: fmt.Sprint(n), StudyDate: day.Format("20060102"), StudyTime: fmt.Sprintf("%02d%02d00", n%24, n%60),
		Modality: modality, StudyDescription: "CHEST ROUTINE", InstitutionName: "EXAMPLE HOSPITAL",
	}
}
