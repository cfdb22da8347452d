using System.Runtime.InteropServices;
using Rollcall.Server.Commands;

if (!string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")))
{
    // Whoever wants no colours has the output read by something: to a terminal that it knows the runtime sends a code of its own before the first line.
    Environment.SetEnvironmentVariable("TERM", "dumb");
}

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
