using Rollcall.Sync;

namespace Rollcall.Tests.Sync;

/// <summary>Barcodes that change hands: who can move, and how long it takes to find out.</summary>
public sealed class BarcodeChainTests
{
    [Fact]
    public void A_chain_whose_end_was_taken_is_resolved_link_by_link()
    {
        const int Long = 20_000;
        foreach (var turned in (bool[])[false, true])
        {
            // Each waits for the next one, and the last for somebody who stays.
            List<(int Who, int Holder)> waits = [.. Enumerable.Range(0, Long).Select(i => (i, i + 1))];
            if (turned)
            {
                waits.Reverse();
            }

            var moving = Enumerable.Range(0, Long).ToHashSet();
            Assert.InRange(BarcodeChain.Break(moving, waits, _ => false), Long, 3 * Long);
            Assert.Empty(moving);

            moving = [.. Enumerable.Range(0, Long)];
            BarcodeChain.Break(moving, waits, h => h == Long);
            Assert.Equal(Long, moving.Count);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void It_comes_to_the_same_as_looking_again_and_again(int seed)
    {
        var random = new Random(seed);
        for (var round = 0; round < 300; round++)
        {
            // Some wait for nobody, some for each other, some for people who stay or only let go.
            var people = random.Next(1, 12);
            var moving = Enumerable.Range(0, people).ToHashSet();
            List<(int Who, int Holder)> waits =
            [
                .. moving.Where(_ => random.Next(5) > 0).Select(w => (w, random.Next(people + 3))).Where(w => w.w != w.Item2),
            ];
            var free = Enumerable.Range(0, people + 3).Where(_ => random.Next(6) == 0).ToHashSet();
            var expected = moving.ToHashSet();
            while (waits.Exists(w => expected.Contains(w.Who) && !expected.Contains(w.Holder) && !free.Contains(w.Holder)))
            {
                expected.ExceptWith(waits.Where(w => !expected.Contains(w.Holder) && !free.Contains(w.Holder)).Select(w => w.Who).ToList());
            }

            BarcodeChain.Break(moving, waits, free.Contains);
            Assert.Equal(expected, moving);
        }
    }
}
