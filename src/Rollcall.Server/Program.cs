using System.Runtime.InteropServices;
using Rollcall.Server.Commands;

// The first signal asks to end in order (a sync is parked, a server stops listening); a second one ends at once, as the system does it.
using var stop = new CancellationTokenSource();
var asked = 0;
void Ask(PosixSignalContext signal)
{
    if (Interlocked.Exchange(ref asked, 1) == 0)
    {
        signal.Cancel = true;
        _ = stop.CancelAsync();
    }
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Ask);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Ask);
return await CommandLine.RunAsync(args, Terminal.OfProcess(), stop.Token);
