// Package dropfolder takes in files that are copied into a folder.
//
// A [Watcher] finds the files, waits until each is complete, hands it open to a [Handler] and carries out the [Verdict]: it
// removes the file or moves it to a folder of those taken, moves it aside with a reason in words beside it, or lets it be for a
// while. It knows nothing of what the files hold; [Instances] is the handler for DICOM files.
//
// A file is complete when it has not changed for the quiet time: size, modification and status change times, inode. That is
// observed against the monotonic clock, so a clock that jumps, a time that a copying program has set, or a file system whose
// server has another time make no difference. Notifications of the kernel (fsnotify) only say that it is worth looking; what
// counts is what is found by looking, and it is looked every rescan interval whether there were any or not. So a queue that
// overflows, a limit on watches, a network file system that notifies nobody, or a folder that is removed, unmounted and made
// again cost time and nothing else.
//
// Nothing is lost: a file leaves the folder only after the handler has said that it is taken, and only if it still is the file
// that was read. Between the two a crash leaves it to be found again, so handlers must recognise what they have. Files are moved
// by rename without replacing; to another file system they are copied and synced first.
//
// Whoever may write to the folder is not trusted further than that: links, FIFOs, devices and sockets are never opened, files are
// opened below the folder only ([os.Root]) and once, and depth, number of candidates, watches and sizes are bounded. Memory does
// not depend on how many files there are.
package dropfolder
