// Package cloud holds what the standard for imaging clouds (医学影像云, V0.94) says about its signed HTTP interfaces: codes, the
// signature, and interface 203 (5.3), by which a hospital gets back the images of a study: request, answer and the fields
// of an image. It knows the network's side of the standard alone, neither instances nor the index.
//
// The standard leaves gaps: 203's signature rule, its example and its envelope are missing. What is done instead is a
// setting, and said where it is done.
package cloud
