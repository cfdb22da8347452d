using Rollcall.Sandbox.District;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>Records that are put away into a file come back as they were.</summary>
public sealed class BlocksTests
{
    private const int Count = 10_000;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(1000)]
    public void Records_are_what_was_last_written(int inMemory)
    {
        var blocks = new Blocks<(long A, short B)>(inMemory);
        var expected = new List<(long A, short B)>();
        var random = new Random(7);
        while (expected.Count < Count)
        {
            var record = (random.NextInt64(), (short)random.Next());
            blocks.Add(record);
            expected.Add(record);
            var place = random.Next(expected.Count);
            blocks.Change(place).B++;
            expected[place] = expected[place] with { B = (short)(expected[place].B + 1) };
            place = random.Next(expected.Count);
            Assert.Equal(expected[place], blocks[place]);
        }

        Assert.Equal(Count, blocks.Count);
        Assert.Equal(expected, Enumerable.Range(0, Count).Select(i => blocks[i]));
    }

    [Fact]
    public void Many_read_at_once()
    {
        var blocks = new Blocks<int>(3);
        for (var i = 0; i < Count; i++)
        {
            blocks.Add(i * 3);
        }

        Parallel.For(
            0,
            8,
            seed =>
            {
                var random = new Random(seed);
                for (var i = 0; i < 20_000; i++)
                {
                    var place = random.Next(Count);
                    Assert.Equal(place * 3, blocks[place]);
                }
            }
        );
    }
}
