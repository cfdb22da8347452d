using Rollcall.OneRoster.Csv;

namespace Rollcall.OneRoster.Tests.Csv;

/// <summary>What is written into a file comes back in order, with what is still in memory.</summary>
public sealed class KeyLogTests
{
    [Theory]
    [InlineData(50)]
    [InlineData(100_000)]
    [InlineData(700_000)]
    public void Keys_come_back_in_the_order_of_their_hashes(int count)
    {
        var random = new Random(11);
        using var log = new KeyLog();
        var expected = new List<KeyOnRow>();
        for (var row = 1; row <= count; row++)
        {
            // Few enough hashes that some come again.
            var key = new KeyOnRow((ulong)random.Next(count) * 0x9e3779b97f4a7c15, row, random.Next(3));
            log.Add(key);
            expected.Add(key);
        }

        expected.Sort();
        KeyOnRow[] space = [];
        var actual = new List<KeyOnRow>();
        for (var round = 0; round < 2; round++)
        {
            actual.Clear();
            for (var part = 0; part < KeyLog.Parts; part++)
            {
                actual.AddRange(log.Sorted(part, ref space));
            }

            Assert.True(expected.SequenceEqual(actual));
        }
    }
}
