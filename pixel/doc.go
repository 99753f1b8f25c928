// Package pixel makes native pixel data of encapsulated (PS3.5 A.4): [Frames] gathers the frames of an object from their
// fragments, one at a time, and a [Decoder] decodes them. Which transfer syntaxes it knows [Decodable] tells.
//
// Memory is bounded by one frame, compressed and decoded. Lengths are not trusted: what is read is only as much as has come,
// and a frame is decoded only if it is what the object's attributes say.
//
// Packages pixel/jpeg and pixel/rle have the decoders proper.
package pixel
