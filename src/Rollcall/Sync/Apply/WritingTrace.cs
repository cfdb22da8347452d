using System.Diagnostics;

namespace Rollcall.Sync.Apply;

/// <summary>What writing changes spends its time on, for whoever listens. A slice has several of these, so that they are no part of the traces of
/// operations, which name stages.</summary>
internal static class WritingTrace
{
    /// <summary>The name of the source.</summary>
    public const string Name = "Rollcall.Writing";

    private static readonly ActivitySource s_source = new(Name);

    /// <summary>Begins a part, which lasts until what is returned is disposed; null where nobody listens.</summary>
    public static Activity? Begin(string part) => s_source.StartActivity(part);
}
