namespace Rollcall.Bench;

/// <summary>A result that may not be measured, because it is wrong or never came.</summary>
internal sealed class BenchFailedException(string message) : Exception(message)
{
    /// <summary>A quick wrong answer must never end in the table.</summary>
    public static void ThrowUnless(bool holds, string what)
    {
        if (!holds)
        {
            throw new BenchFailedException(what);
        }
    }
}
