package upstreamlog

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/klog/v2"
)

func TestErrorsBecomeWarnings(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	Use(zap.New(core))
	t.Cleanup(klog.ClearLogger)
	klog.ErrorS(errors.New("broken"), "it happened", "pod", "p")
	klog.InfoS("by the way")
	klog.V(4).InfoS("nobody wants to know")
	if got := logs.All(); len(got) != 2 || got[0].Level != zap.WarnLevel || got[0].ContextMap()["pod"] != "p" || got[0].ContextMap()["error"] != "broken" || got[1].Level != zap.DebugLevel {
		t.Errorf("got %+v", got)
	}
}
