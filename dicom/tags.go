package dicom

// Tags that the gateway itself deals with.
const (
	TagSpecificCharacterSet            Tag = 0x00080005
	TagInstanceCreationDate            Tag = 0x00080012
	TagInstanceCreationTime            Tag = 0x00080013
	TagSOPClassUID                     Tag = 0x00080016
	TagSOPInstanceUID                  Tag = 0x00080018
	TagStudyDate                       Tag = 0x00080020
	TagSeriesDate                      Tag = 0x00080021
	TagAcquisitionDate                 Tag = 0x00080022
	TagContentDate                     Tag = 0x00080023
	TagAcquisitionDateTime             Tag = 0x0008002A
	TagStudyTime                       Tag = 0x00080030
	TagSeriesTime                      Tag = 0x00080031
	TagAcquisitionTime                 Tag = 0x00080032
	TagContentTime                     Tag = 0x00080033
	TagAccessionNumber                 Tag = 0x00080050
	TagQueryRetrieveLevel              Tag = 0x00080052
	TagModality                        Tag = 0x00080060
	TagManufacturer                    Tag = 0x00080070
	TagInstitutionName                 Tag = 0x00080080
	TagInstitutionAddress              Tag = 0x00080081
	TagReferringPhysicianName          Tag = 0x00080090
	TagTimezoneOffsetFromUTC           Tag = 0x00080201
	TagStationName                     Tag = 0x00081010
	TagStudyDescription                Tag = 0x00081030
	TagSeriesDescription               Tag = 0x0008103E
	TagInstitutionalDepartmentName     Tag = 0x00081040
	TagPerformingPhysicianName         Tag = 0x00081050
	TagNameOfPhysiciansReadingStudy    Tag = 0x00081060
	TagOperatorsName                   Tag = 0x00081070
	TagManufacturerModelName           Tag = 0x00081090
	TagPatientName                     Tag = 0x00100010
	TagPatientID                       Tag = 0x00100020
	TagIssuerOfPatientID               Tag = 0x00100021
	TagPatientBirthDate                Tag = 0x00100030
	TagPatientBirthTime                Tag = 0x00100032
	TagPatientSex                      Tag = 0x00100040
	TagOtherPatientIDs                 Tag = 0x00101000
	TagPatientAge                      Tag = 0x00101010
	TagPatientWeight                   Tag = 0x00101030
	TagBodyPartExamined                Tag = 0x00180015
	TagProtocolName                    Tag = 0x00181030
	TagStudyInstanceUID                Tag = 0x0020000D
	TagSeriesInstanceUID               Tag = 0x0020000E
	TagStudyID                         Tag = 0x00200010
	TagSeriesNumber                    Tag = 0x00200011
	TagAcquisitionNumber               Tag = 0x00200012
	TagInstanceNumber                  Tag = 0x00200013
	TagLaterality                      Tag = 0x00200060
	TagSamplesPerPixel                 Tag = 0x00280002
	TagPhotometricInterpretation       Tag = 0x00280004
	TagNumberOfFrames                  Tag = 0x00280008
	TagRows                            Tag = 0x00280010
	TagColumns                         Tag = 0x00280011
	TagBitsAllocated                   Tag = 0x00280100
	TagBitsStored                      Tag = 0x00280101
	TagLossyImageCompression           Tag = 0x00282110
	TagRequestedProcedureDescription   Tag = 0x00321060
	TagPerformedProcedureStepStartDate Tag = 0x00400244
	TagPerformedProcedureStepStartTime Tag = 0x00400245
	TagPerformedProcedureStepID        Tag = 0x00400253
)

// defaultTags in ascending order. Beyond what identifies an instance and what
// the C-FIND keys of PS3.4 C.6 and the national views ask for, it has what is
// needed to tell where an image comes from and how large it is.
var defaultTags = []Tag{
	TagSpecificCharacterSet, TagInstanceCreationDate, TagInstanceCreationTime, TagSOPClassUID, TagSOPInstanceUID,
	TagStudyDate, TagSeriesDate, TagAcquisitionDate, TagContentDate, TagAcquisitionDateTime,
	TagStudyTime, TagSeriesTime, TagAcquisitionTime, TagContentTime,
	TagAccessionNumber, TagModality, TagManufacturer, TagInstitutionName, TagInstitutionAddress,
	TagReferringPhysicianName, TagTimezoneOffsetFromUTC, TagStationName, TagStudyDescription,
	TagSeriesDescription, TagInstitutionalDepartmentName, TagPerformingPhysicianName,
	TagNameOfPhysiciansReadingStudy, TagOperatorsName, TagManufacturerModelName,
	TagPatientName, TagPatientID, TagIssuerOfPatientID, TagPatientBirthDate, TagPatientBirthTime,
	TagPatientSex, TagOtherPatientIDs, TagPatientAge, TagPatientWeight,
	TagBodyPartExamined, TagProtocolName,
	TagStudyInstanceUID, TagSeriesInstanceUID, TagStudyID, TagSeriesNumber, TagAcquisitionNumber,
	TagInstanceNumber, TagLaterality,
	TagSamplesPerPixel, TagPhotometricInterpretation, TagNumberOfFrames, TagRows, TagColumns,
	TagBitsAllocated, TagBitsStored, TagLossyImageCompression,
	TagRequestedProcedureDescription,
	TagPerformedProcedureStepStartDate, TagPerformedProcedureStepStartTime, TagPerformedProcedureStepID,
}

// DefaultTags returns the tags the gateway indexes: what C-FIND matches and
// returns (PS3.4 C.6), what is published as rows and what delivery rules test.
// The slice is the caller's.
func DefaultTags() []Tag { return append([]Tag(nil), defaultTags...) }
