//go:build linux

package netio

import "testing"

func TestEpoll(t *testing.T) { testEngine(t, NewEpoll) }
func TestUring(t *testing.T) { testEngine(t, NewUring) }

// testEngine is what every engine must do, seen through real sockets on
// loopback only. It knows nothing of how.
func testEngine(t *testing.T, open opener) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			if !c.alone {
				t.Parallel()
			}
			c.test(t, open)
		})
	}
}

var conformance = []struct {
	name  string
	alone bool // counts or limits the process's descriptors
	test  func(t *testing.T, open opener)
}{
	// Listening and accepting.
	{name: "AcceptReportsPeer", test: testAcceptReportsPeer},
	{name: "AcceptTags", test: testAcceptTags},
	{name: "AcceptManyAtOnce", test: testAcceptManyAtOnce},
	{name: "AcceptSpeaksFirst", test: testAcceptSpeaksFirst},
	{name: "AcceptedThenReset", test: testAcceptedThenReset},
	{name: "AcceptWithoutDescriptors", alone: true, test: testAcceptWithoutDescriptors},
	{name: "UnlistenLeavesQueue", test: testUnlistenLeavesQueue},
	{name: "UnlistenInBatch", test: testUnlistenInBatch},
	{name: "ListenErrors", test: testListenErrors},
	{name: "ConnectFrom", test: testConnectFrom},
	{name: "ConnectFirst", test: testConnectFirst},
	{name: "ConnectFirstRefused", test: testConnectFirstRefused},
	{name: "ConnectFirstClosed", test: testConnectFirstClosed},
	{name: "ConnectFirstReset", test: testConnectFirstReset},
	{name: "AcceptedAckRides", test: testAcceptedAckRides},
	{name: "OptionsInherited", test: testOptionsInherited},

	// Connecting.
	{name: "Connect", test: testConnect},
	{name: "ConnectRefused", test: testConnectRefused},
	{name: "ConnectImpossible", test: testConnectImpossible},
	{name: "ConnectPeerSpeaksFirst", test: testConnectPeerSpeaksFirst},
	{name: "ConnectThenReset", test: testConnectThenReset},
	{name: "ConnectClosed", test: testConnectClosed},
	{name: "ConnectWithoutDescriptors", alone: true, test: testConnectWithoutDescriptors},

	// Unix sockets.
	{name: "Unix", test: testUnix},
	{name: "UnixSendRest", test: testUnixSendRest},
	{name: "UnixReset", test: testUnixReset},
	{name: "UnixRefused", test: testUnixRefused},
	{name: "UnixQueueFull", test: testUnixQueueFull},
	{name: "UnixSplice", test: testUnixSplice},

	// Receiving.
	{name: "RecvShort", test: testRecvShort},
	{name: "RecvWaits", test: testRecvWaits},
	{name: "RecvFull", test: testRecvFull},
	{name: "RecvEnd", test: testRecvEnd},
	{name: "RecvReset", test: testRecvReset},
	{name: "RecvHalfClose", test: testRecvHalfClose},
	{name: "RecvAnyPattern", test: testRecvAnyPattern},
	{name: "RecvUrgent", test: testRecvUrgent},
	{name: "RecvTwicePanics", test: testRecvTwicePanics},
	{name: "HasInput", test: testHasInput},
	{name: "HasInputReset", test: testHasInputReset},

	// Sending.
	{name: "Send", test: testSend},
	{name: "SendRest", test: testSendRest},
	{name: "SendRestReset", test: testSendRestReset},
	{name: "SendAfterReset", test: testSendAfterReset},
	{name: "SendAfterEnd", test: testSendAfterEnd},
	{name: "SendNoBuffers", test: testSendNoBuffers},
	{name: "SendTwicePanics", test: testSendTwicePanics},
	{name: "ShutdownFollowsRest", test: testShutdownFollowsRest},
	{name: "Unsent", test: testUnsent},
	{name: "UnsentReset", test: testUnsentReset},

	// Splicing.
	{name: "Splice", test: testSplice},
	{name: "SpliceSmallEnds", test: testSpliceSmallEnds},
	{name: "SpliceSourceReset", test: testSpliceSourceReset},
	{name: "SpliceSinkFull", test: testSpliceSinkFull},
	{name: "SpliceSinkReset", test: testSpliceSinkReset},
	{name: "SpliceEndBehindFullSink", test: testSpliceEndBehindFullSink},
	{name: "SpliceBothWays", test: testSpliceBothWays},
	{name: "SpliceBothWaysFull", test: testSpliceBothWaysFull},
	{name: "SpliceAndRecv", test: testSpliceAndRecv},
	{name: "SpliceClosed", test: testSpliceClosed},
	{name: "SpliceUrgent", test: testSpliceUrgent},
	{name: "SpliceShare", test: testSpliceShare},
	{name: "SpliceSettlesRoom", test: testSpliceSettlesRoom},
	{name: "SpliceWithoutPipes", alone: true, test: testSpliceWithoutPipes},
	{name: "SpliceMisusePanics", test: testSpliceMisusePanics},

	// Closing.
	{name: "CloseSendsEnd", test: testCloseSendsEnd},
	{name: "CloseSendsReset", test: testCloseSendsReset},
	{name: "CloseDropsRest", test: testCloseDropsRest},
	{name: "CloseCancels", test: testCloseCancels},
	{name: "CloseInBatch", test: testCloseInBatch},
	{name: "CloseChurn", test: testCloseChurn},
	{name: "CloseTwicePanics", test: testCloseTwicePanics},
	{name: "Shut", alone: true, test: testShut},

	// The turn.
	{name: "WaitDeadline", test: testWaitDeadline},
	{name: "WaitsAgain", test: testWaitsAgain},
	{name: "WatchLetsTheWorldStop", test: testWatchLetsTheWorldStop},
	{name: "WaitEndsByEvent", test: testWaitEndsByEvent},
	{name: "WaitInterrupted", test: testWaitInterrupted},
	{name: "Wake", test: testWake},
	{name: "WakeFromMany", test: testWakeFromMany},
	{name: "WakeAfterShut", alone: true, test: testWakeAfterShut},
}
