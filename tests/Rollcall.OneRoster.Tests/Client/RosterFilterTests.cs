using CsCheck;
using Rollcall.OneRoster.Rest;
using Rollcall.Sandbox.Serving;

namespace Rollcall.OneRoster.Tests.Client;

/// <summary>What is written as a filter is read as that filter by a reader that knows nothing of the writer.</summary>
public sealed class RosterFilterTests
{
    private static readonly Gen<string> s_value = Gen.OneOf(
        Gen.String,
        Gen.String[Gen.Char["'\"=<>!~ %&+#?/\\|AND OR.,()\u00e9\u4e2d\ud83d\ude00\ud800\0\n"], 0, 20],
        Gen.String[Gen.Char.AlphaNumeric, 0, 40]
    );

    private static readonly string[] s_fields = ["familyName", "school.sourcedId", "userIds.identifier", "metadata.x-y_z"];
    private static readonly Gen<string> s_field = Gen.Int[0, 3].Select(i => s_fields[i]);

    [Fact]
    public void Whatever_the_value_the_filter_means_it_or_is_refused()
    {
        Gen.Select(s_field, s_value, s_field, s_value)
            .Sample(
                (first, value, second, other) =>
                {
                    RosterFilter filter;
                    try
                    {
                        filter = new RosterFilter().And(first, "=", value).And(second, "!=", other);
                    }
                    catch (ArgumentException)
                    {
                        Assert.Contains(value + other, c => c == '\'' || char.IsControl(c) || char.IsSurrogate(c));
                        return;
                    }

                    // What goes over the wire is the very text, and is that text again on the other side.
                    var url = "https://roster.example/users?filter=" + filter.Encoded;
                    Assert.Equal(url, BaseAddress.ToUri(url).AbsoluteUri);
                    Assert.All(filter.Encoded, c => Assert.True(char.IsAsciiLetterOrDigit(c) || c is '%' or '-' or '.' or '_' or '~'));
                    Assert.Equal(("filter", filter.Text), OAuthCheck.ParseQuery("filter=" + filter.Encoded).Single());

                    var parsed = Filter.Parse(filter.Text, out var error);
                    Assert.True(parsed is not null, error);
                    Assert.Equal([first, second], parsed.Paths);
                    if (
                        !(value + other).Contains(',', StringComparison.Ordinal)
                        && first != second
                        && value.Trim() == value
                        && other.Trim() == other
                    )
                    {
                        Assert.True(Filter.Holds(filter.Text, p => [p == first ? value : other + "x"]));
                        Assert.False(Filter.Holds(filter.Text, p => [p == first ? value + "x" : other + "x"]));
                        Assert.False(Filter.Holds(filter.Text, p => [p == first ? value : other]));
                    }
                },
                iter: Fuzz.Seconds is null ? 10_000 : -1,
                time: Fuzz.Seconds ?? -1
            );
    }

    [Theory]
    [InlineData("", "=", "x")]
    [InlineData("a b", "=", "x")]
    [InlineData("a='1' OR b", "=", "x")]
    [InlineData("a", "==", "x")]
    [InlineData("a", "=", "O'Neill")]
    [InlineData("a", "=", "x\ty")]
    public void What_cannot_be_written_is_refused(string field, string predicate, string value) =>
        Assert.Throws<ArgumentException>(() => new RosterFilter().And(field, predicate, value));

    [Fact]
    public void A_date_is_written_as_servers_read_it() =>
        Assert.Equal(
            "dateLastModified%3E%272026-01-15T00%3A00%3A00.000Z%27",
            new RosterFilter().And("dateLastModified", ">", new DateTimeOffset(2026, 1, 15, 2, 0, 0, TimeSpan.FromHours(2))).Encoded
        );
}
