package qr

import "dcmgate/dicom"

// Attributes that are computed or answered and that no instance holds.
const (
	tagRetrieveAETitle                    dicom.Tag = 0x00080054
	tagFailedSOPInstanceUIDList           dicom.Tag = 0x00080058 // of the last answer to a retrieval
	tagInstanceAvailability               dicom.Tag = 0x00080056
	tagModalitiesInStudy                  dicom.Tag = 0x00080061
	tagSOPClassesInStudy                  dicom.Tag = 0x00080062
	tagAnatomicRegionsInStudyCodeSequence dicom.Tag = 0x00080063
	tagAvailableTransferSyntaxUID         dicom.Tag = 0x00083002
	tagAlternateRepresentationSequence    dicom.Tag = 0x00083001
	tagNumberOfPatientRelatedStudies      dicom.Tag = 0x00201200
	tagNumberOfPatientRelatedSeries       dicom.Tag = 0x00201202
	tagNumberOfPatientRelatedInstances    dicom.Tag = 0x00201204
	tagNumberOfStudyRelatedSeries         dicom.Tag = 0x00201206
	tagNumberOfStudyRelatedInstances      dicom.Tag = 0x00201208
	tagNumberOfSeriesRelatedInstances     dicom.Tag = 0x00201209
)

// support says how an attribute can be asked for: returned from level on downwards, and matched there unless returnOnly.
type support struct {
	level      Level
	returnOnly bool
	computed   bool // not an element of an instance
	stored     bool // not in the index, but in the stored data set (header.go)
}

// cost is what comparing an attribute takes.
func (s support) cost(tag dicom.Tag) cost {
	switch {
	case tag == tagAnatomicRegionsInStudyCodeSequence:
		return costStudy
	case s.stored:
		return costInstance
	}
	return costIndex
}

// supported is what can be asked for: the keys of PS3.4 C.6.1.1 and C.6.2.1, what else the index holds of an instance
// (dicom.DefaultTags), and what storedAttributes adds. Some attributes of the equipment are offered for studies, as callers expect: they are those of the
// study's newest instance.
var supported = withStored(map[dicom.Tag]support{
	dicom.TagPatientName:                  {level: LevelPatient},
	dicom.TagPatientID:                    {level: LevelPatient},
	dicom.TagIssuerOfPatientID:            {level: LevelPatient},
	dicom.TagPatientBirthDate:             {level: LevelPatient},
	dicom.TagPatientBirthTime:             {level: LevelPatient},
	dicom.TagPatientSex:                   {level: LevelPatient},
	dicom.TagOtherPatientIDs:              {level: LevelPatient},
	tagRetrieveAETitle:                    {level: LevelPatient, returnOnly: true, computed: true},
	tagInstanceAvailability:               {level: LevelPatient, returnOnly: true, computed: true},
	dicom.TagStudyDate:                    {level: LevelStudy},
	dicom.TagStudyTime:                    {level: LevelStudy},
	dicom.TagAccessionNumber:              {level: LevelStudy},
	dicom.TagStudyID:                      {level: LevelStudy},
	dicom.TagStudyInstanceUID:             {level: LevelStudy},
	dicom.TagStudyDescription:             {level: LevelStudy},
	tagModalitiesInStudy:                  {level: LevelStudy, computed: true},
	tagSOPClassesInStudy:                  {level: LevelStudy, computed: true},
	tagAnatomicRegionsInStudyCodeSequence: {level: LevelStudy, computed: true},
	dicom.TagPatientAge:                   {level: LevelStudy},
	dicom.TagPatientWeight:                {level: LevelStudy},
	dicom.TagInstitutionName:              {level: LevelStudy},
	dicom.TagInstitutionAddress:           {level: LevelStudy},
	dicom.TagStationName:                  {level: LevelSeries},
	dicom.TagModality:                     {level: LevelSeries},
	dicom.TagSeriesNumber:                 {level: LevelSeries},
	dicom.TagSeriesInstanceUID:            {level: LevelSeries},
	dicom.TagSeriesDate:                   {level: LevelSeries},
	dicom.TagSeriesTime:                   {level: LevelSeries},
	dicom.TagSeriesDescription:            {level: LevelSeries},
	dicom.TagManufacturer:                 {level: LevelSeries},
	dicom.TagOperatorsName:                {level: LevelSeries},
	dicom.TagBodyPartExamined:             {level: LevelSeries},
	dicom.TagProtocolName:                 {level: LevelSeries},
	dicom.TagLaterality:                   {level: LevelSeries},
	dicom.TagSOPInstanceUID:               {level: LevelImage},
	dicom.TagSOPClassUID:                  {level: LevelImage},
	dicom.TagInstanceNumber:               {level: LevelImage},
	dicom.TagAcquisitionNumber:            {level: LevelImage},
	dicom.TagAcquisitionDate:              {level: LevelImage},
	dicom.TagAcquisitionTime:              {level: LevelImage},
	dicom.TagAcquisitionDateTime:          {level: LevelImage},
	dicom.TagContentDate:                  {level: LevelImage},
	dicom.TagContentTime:                  {level: LevelImage},
	dicom.TagNumberOfFrames:               {level: LevelImage},
	dicom.TagRows:                         {level: LevelImage},
	dicom.TagColumns:                      {level: LevelImage},
	dicom.TagBitsAllocated:                {level: LevelImage},
	dicom.TagBitsStored:                   {level: LevelImage},
	dicom.TagSamplesPerPixel:              {level: LevelImage},

	dicom.TagReferringPhysicianName:          {level: LevelStudy},
	dicom.TagNameOfPhysiciansReadingStudy:    {level: LevelStudy},
	dicom.TagInstitutionalDepartmentName:     {level: LevelStudy},
	dicom.TagRequestedProcedureDescription:   {level: LevelStudy},
	dicom.TagPerformingPhysicianName:         {level: LevelSeries},
	dicom.TagManufacturerModelName:           {level: LevelSeries},
	dicom.TagPerformedProcedureStepStartDate: {level: LevelSeries},
	dicom.TagPerformedProcedureStepStartTime: {level: LevelSeries},
	dicom.TagPerformedProcedureStepID:        {level: LevelSeries},
	dicom.TagInstanceCreationDate:            {level: LevelImage},
	dicom.TagInstanceCreationTime:            {level: LevelImage},
	dicom.TagPhotometricInterpretation:       {level: LevelImage},
	dicom.TagLossyImageCompression:           {level: LevelImage},
	tagAvailableTransferSyntaxUID:            {level: LevelImage, computed: true},
	tagAlternateRepresentationSequence:       {level: LevelImage, computed: true},
	tagNumberOfPatientRelatedStudies:         {level: LevelPatient, returnOnly: true, computed: true},
	tagNumberOfPatientRelatedSeries:          {level: LevelPatient, returnOnly: true, computed: true},
	tagNumberOfPatientRelatedInstances:       {level: LevelPatient, returnOnly: true, computed: true},
	tagNumberOfStudyRelatedSeries:            {level: LevelStudy, returnOnly: true, computed: true},
	tagNumberOfStudyRelatedInstances:         {level: LevelStudy, returnOnly: true, computed: true},
	tagNumberOfSeriesRelatedInstances:        {level: LevelSeries, returnOnly: true, computed: true},
})

// momentPairs are dates and their times, which combined date-time matching joins (PS3.4 C.2.2.2.5.1).
var momentPairs = []struct{ date, time dicom.Tag }{
	{dicom.TagStudyDate, dicom.TagStudyTime},
	{dicom.TagPatientBirthDate, dicom.TagPatientBirthTime},
	{dicom.TagSeriesDate, dicom.TagSeriesTime},
	{dicom.TagPerformedProcedureStepStartDate, dicom.TagPerformedProcedureStepStartTime},
	{dicom.TagAcquisitionDate, dicom.TagAcquisitionTime},
	{dicom.TagContentDate, dicom.TagContentTime},
	{dicom.TagInstanceCreationDate, dicom.TagInstanceCreationTime},
}
