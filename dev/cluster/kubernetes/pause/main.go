// Command pause holds a pod's namespaces open and, where it is process 1 of the pod, collects orphans.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

// reap collects every child that has ended, without waiting for those that have not.
func reap() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
			return
		}
	}
}

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}
