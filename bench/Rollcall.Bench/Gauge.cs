using System.Diagnostics;
using System.Globalization;
using Rollcall.Sync.Apply;

namespace Rollcall.Bench;

/// <summary>Time, processor time and memory of this process over one span.</summary>
internal sealed class Gauge : IDisposable
{
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly TimeSpan _cpu = Process.GetCurrentProcess().TotalProcessorTime;
    private readonly long _allocated = GC.GetTotalAllocatedBytes();
    private readonly Dictionary<string, double> _parts = [];
    private readonly Dictionary<string, double> _partsCpu = [];
    private readonly Dictionary<string, double> _partsMemory = [];
    private readonly Timer _timer;
    private readonly ActivityListener _writing;
    private readonly Dictionary<string, double> _partsWriting = [];
    private string? _stage;
    private string? _text;
    private TimeSpan _since;
    private TimeSpan _cpuSince;
    private long _heap;

    public Gauge()
    {
        _cpuSince = _cpu;
        _writing = new ActivityListener
        {
            ShouldListenTo = s => s.Name == WritingTrace.Name,
            Sample = (ref _) => ActivitySamplingResult.PropagationData,
            ActivityStopped = a =>
            {
                lock (_parts)
                {
                    var part = a.OperationName;
                    _partsWriting[part] = _partsWriting.GetValueOrDefault(part) + a.Duration.TotalSeconds;
                }
            },
        };
        ActivitySource.AddActivityListener(_writing);
        _timer = new Timer(_ => Sample(), null, TimeSpan.Zero, TimeSpan.FromMilliseconds(50));
    }

    private TimeSpan Elapsed => Stopwatch.GetElapsedTime(_start);

    /// <summary>Called with each report of progress; time is put down to what was going on until now.</summary>
    public void See(string stage, string? text)
    {
        _heap = Math.Max(_heap, GC.GetTotalMemory(forceFullCollection: false));
        if (stage == _stage && text == _text)
        {
            return;
        }

        lock (_parts)
        {
            Close();
            (_stage, _text) = (stage, text);
        }
    }

    public Measured Stop()
    {
        var seconds = Elapsed.TotalSeconds;
        Sample();
        _timer.Dispose();
        _writing.Dispose();
        lock (_parts)
        {
            Close();
        }

        return new Measured
        {
            Seconds = seconds,
            Cpu = (Process.GetCurrentProcess().TotalProcessorTime - _cpu).TotalSeconds,
            Peak = PeakMemory(Process.GetCurrentProcess()),
            Heap = Math.Max(_heap, GC.GetTotalMemory(forceFullCollection: false)) / 1e6,
            Allocated = (GC.GetTotalAllocatedBytes() - _allocated) / 1e6,
            Parts = _parts,
            PartsWriting = _partsWriting,
            PartsCpu = _partsCpu,
            PartsMemory = _partsMemory,
        };
    }

    public void Dispose()
    {
        _writing.Dispose();
        _timer.Dispose();
    }

    private void Close()
    {
        var now = Elapsed;

        var text = Text;
        var stage = text[..text.IndexOf(':', StringComparison.Ordinal)];
        _parts[stage] = _parts.GetValueOrDefault(stage) + (now - _since).TotalSeconds;
        _parts[text] = _parts.GetValueOrDefault(text) + (now - _since).TotalSeconds;
        _since = now;
        var cpu = Process.GetCurrentProcess().TotalProcessorTime;
        _partsCpu[text] = _partsCpu.GetValueOrDefault(text) + (cpu - _cpuSince).TotalSeconds;
        _cpuSince = cpu;
    }

    // Until the first report the run connects: that belongs to the pull.
    private string Text => $"{_stage ?? "Pulling"}: {_text ?? "Connecting"}";

    private void Sample()
    {
        lock (_parts)
        {
            _partsMemory[Text] = Math.Max(_partsMemory.GetValueOrDefault(Text), Environment.WorkingSet / 1e6);
        }
    }

    /// <summary>VmHWM: the most that was ever resident.</summary>
    public static double PeakMemory(Process process)
    {
        const string Name = "VmHWM:";
        var status = string.Create(CultureInfo.InvariantCulture, $"/proc/{process.Id}/status");
        var line = File.Exists(status) ? File.ReadLines(status).FirstOrDefault(l => l.StartsWith(Name, StringComparison.Ordinal)) : null;
        return line is null
            ? process.PeakWorkingSet64 / 1e6
            : long.Parse(line[Name.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), CultureInfo.InvariantCulture) * 1024 / 1e6;
    }
}
