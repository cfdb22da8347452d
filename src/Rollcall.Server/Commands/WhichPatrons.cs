using System.CommandLine;
using Rollcall.Districts;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary>The options that choose patrons.</summary>
internal sealed class WhichPatrons
{
    private readonly Option<string?> _status = new("--status")
    {
        Description = "Active, \"Card Lost\", Suspended, Transferred, Inactive or Other",
    };
    private readonly Option<string?> _site = new("--site") { Description = "A site's code", HelpName = "CODE" };
    private readonly Option<string?> _level = new("--level") { Description = "A grade, exactly as stored" };

    public void AddTo(Command command)
    {
        command.Add(_status);
        command.Add(_site);
        command.Add(_level);
    }

    public bool IsGiven(ParseResult result) =>
        result.GetValue(_status) is not null || result.GetValue(_site) is not null || result.GetValue(_level) is not null;

    public void Require(ParseResult result)
    {
        if (!IsGiven(result))
        {
            throw new UsageException("Say which patrons: --status, --site, --level, or several of them.");
        }

        _ = Status(result);
    }

    public async Task<PatronFilter> FilterAsync(
        ParseResult result,
        Session session,
        District district,
        CancellationToken cancellationToken
    ) =>
        new(
            null,
            PatronCommands.FindSite(await session.SitesAsync(district, cancellationToken), result.GetValue(_site)),
            Status(result),
            result.GetValue(_level)
        );

    private PatronStatus? Status(ParseResult result) =>
        result.GetValue(_status) is { } word
            ? PatronFields.ParseStatus(word)
                ?? throw new UsageException(
                    $"'{word}' is no status: there is Active, Card Lost, Suspended, Transferred, Inactive and Other."
                )
            : null;
}
