using System.Globalization;

namespace Rollcall.Operations;

/// <summary>How fast the present step of a work goes, and when it will be over. A step begins when its name changes, or when it counts from the beginning again.</summary>
internal sealed class Pace(TimeProvider time)
{
    /// <summary>What follows the name of a step that somebody else keeps waiting: it is the same step.</summary>
    internal const string Waits = ": waiting for the roster service, ";

    // What the first page or the first slice took says little of the rest.
    private static readonly TimeSpan s_settled = TimeSpan.FromSeconds(5);
    private (OperationStage Stage, string? Text) _step;
    private long _from;
    private long _done;
    private long _since = time.GetTimestamp();

    /// <summary>Takes note of where the work stands.</summary>
    /// <param name="stage">The stage.</param>
    /// <param name="text">The name of the step; null when it has none.</param>
    /// <param name="done">How much is done.</param>
    public void Report(OperationStage stage, string? text, long done)
    {
        var step = (stage, Name(text));
        if (step != _step || done < _done)
        {
            (_step, _from, _since) = (step, done, time.GetTimestamp());
        }

        _done = done;
    }

    /// <summary>How much a second is done; null while that cannot be said yet.</summary>
    public double? Rate =>
        time.GetElapsedTime(_since) is var spent && spent >= s_settled && _done > _from ? (_done - _from) / spent.TotalSeconds : null;

    /// <summary>How many seconds are left at this rate; null where that is not known.</summary>
    public static long? SecondsLeft(double? rate, long done, long total) =>
        rate is > 0 and var speed && total > done && (total - done) / speed is var left && left < TimeSpan.FromDays(30).TotalSeconds
            ? (long)Math.Ceiling(left)
            : null;

    /// <summary>The rate and the time that is left, as people say it: coarse, so that it does not jump with every look; null where neither is
    /// known.</summary>
    public static string? Words(double? rate, long done, long total)
    {
        string?[] parts = [RateWords(rate), LeftWords(SecondsLeft(rate, done, total))];
        return string.Join(", ", parts.OfType<string>()) is { Length: > 0 } words ? words : null;
    }

    private static string? Name(string? text) => text?.IndexOf(Waits, StringComparison.Ordinal) is { } at and >= 0 ? text[..at] : text;

    private static string? RateWords(double? rate) =>
        rate switch
        {
            >= 1 => $"{Rounded(rate.Value)} a second",
            > 0 when rate * 60 >= 1 => $"{Rounded(rate.Value * 60)} a minute",
            _ => null,
        };

    /// <summary>Two digits say enough.</summary>
    private static string Rounded(double number)
    {
        var unit = Math.Pow(10, Math.Max(0, Math.Floor(Math.Log10(number)) - 1));
        return (Math.Round(number / unit) * unit).ToString("N0", CultureInfo.InvariantCulture);
    }

    private static string? LeftWords(long? seconds) =>
        seconds switch
        {
            null => null,
            < 20 => "a few seconds left",
            < 50 => "less than a minute left",
            < 90 => "about a minute left",
            < 600 => $"about {Math.Round(seconds.Value / 60d)} minutes left",
            < 5400 => $"about {Math.Round(seconds.Value / 300d) * 5} minutes left",
            < 48 * 3600 => $"about {Math.Max(2, Math.Round(seconds.Value / 3600d))} hours left",
            _ => $"about {Math.Round(seconds.Value / 86400d)} days left",
        };
}
