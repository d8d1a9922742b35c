//go:build before_1_34

package main

import (
	"github.com/spf13/cobra"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func kubeletCommand() *cobra.Command { return kubelet.NewKubeletCommand() }

// setVerbosity has nothing to do: kubectl's own main sets it only since 1.34.
func setVerbosity() {}
