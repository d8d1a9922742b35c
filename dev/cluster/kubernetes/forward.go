package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

// pipe copies both ways until either side closes.
func pipe(client, server net.Conn) {
	ended := make(chan struct{}, 2)
	for _, ends := range [][2]net.Conn{{client, server}, {server, client}} {
		go func(to, from net.Conn) {
			_, _ = io.Copy(to, from)
			ended <- struct{}{}
		}(ends[0], ends[1])
	}
	<-ended
	_ = client.Close()
	_ = server.Close()
}

// forward makes the API server, which listens on loopback, reachable for pods at the address of Service "kubernetes":
// there is no kube-proxy that would do it.
func forward(listenAddress, targetAddress string) error {
	listener, err := net.Listen("tcp", listenAddress)
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		server, err := net.Dial("tcp", targetAddress)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			_ = client.Close()
			continue
		}
		go pipe(client, server)
	}
}
