using System.Globalization;

namespace Rollcall.OneRoster.Tests;

/// <summary>How long damaged input is thrown at the readers: a little in each run, and <c>ROLLCALL_FUZZ_SECONDS</c> each when asked.</summary>
internal static class Fuzz
{
    /// <summary>Seconds; null for the little of each run.</summary>
    public static int? Seconds { get; } =
        int.TryParse(Environment.GetEnvironmentVariable("ROLLCALL_FUZZ_SECONDS"), CultureInfo.InvariantCulture, out var seconds)
            ? seconds
            : null;
}
