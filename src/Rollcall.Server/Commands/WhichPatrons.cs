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
    private readonly Option<bool> _noSite = NoSite();
    private readonly Option<string?> _level = new("--level") { Description = "A grade, exactly as stored" };
    private readonly Option<bool> _gone = Gone();

    /// <summary>The option for those whom no site has.</summary>
    public static Option<bool> NoSite() => new("--no-site") { Description = "Those who have no site" };

    /// <summary>The option for those whom the roster no longer has.</summary>
    public static Option<bool> Gone() =>
        new("--gone") { Description = "Linked ones who have left the roster: no longer found in it, or deleted there" };

    public void AddTo(Command command)
    {
        command.Add(_status);
        command.Add(_site);
        command.Add(_noSite);
        command.Add(_level);
        command.Add(_gone);
    }

    public bool IsGiven(ParseResult result) =>
        result.GetValue(_status) is not null
        || result.GetValue(_site) is not null
        || result.GetValue(_noSite)
        || result.GetValue(_level) is not null
        || result.GetValue(_gone);

    public void Require(ParseResult result)
    {
        if (!IsGiven(result))
        {
            throw new UsageException("Say which patrons: --status, --site, --no-site, --level, --gone, or several of them.");
        }

        _ = Status(result);
        Check(result.GetValue(_site), result.GetValue(_noSite));
    }

    /// <summary>Nobody is at a site and at none.</summary>
    public static void Check(string? site, bool noSite)
    {
        if (site is not null && noSite)
        {
            throw new UsageException("--site and --no-site exclude each other.");
        }
    }

    public async Task<PatronFilter> FilterAsync(ParseResult result, Session session, District district, CancellationToken cancellationToken)
    {
        Check(result.GetValue(_site), result.GetValue(_noSite));
        return new(
            null,
            PatronCommands.FindSite(await session.SitesAsync(district, cancellationToken), result.GetValue(_site)),
            Status(result),
            result.GetValue(_level)
        )
        {
            NoSite = result.GetValue(_noSite),
            Gone = result.GetValue(_gone) ? true : null,
        };
    }

    private PatronStatus? Status(ParseResult result) =>
        result.GetValue(_status) is { } word
            ? PatronFields.ParseStatus(word)
                ?? throw new UsageException(
                    $"'{word}' is no status: there is Active, Card Lost, Suspended, Transferred, Inactive and Other."
                )
            : null;
}
