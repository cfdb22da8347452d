using System.CommandLine;
using Rollcall.Districts;
using Rollcall.Patrons;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall site</c>.</summary>
internal static class SiteCommands
{
    private sealed record Row(
        string Code,
        string Name,
        string? Guid,
        string NextBarcode,
        string Policy,
        string Group,
        IReadOnlyList<RoleRow> RoleGroups
    );

    private sealed record RoleRow(string RoleGroup, string? NextBarcode, string? Policy, string? Group);

    public static Command Build(Terminal terminal) =>
        new("site", "The district's libraries and the defaults of their new patrons")
        {
            Change(
                terminal,
                "add",
                "Add a site",
                required: true,
                (sites, district, code, change, actor, token) => sites.AddAsync(district, code, change, actor, token)
            ),
            Change(
                terminal,
                "set",
                "Change a site",
                required: false,
                (sites, district, code, change, actor, token) => sites.SetAsync(district, code, change, actor, token)
            ),
            List(terminal),
        };

    private static Command Change(
        Terminal terminal,
        string verb,
        string description,
        bool required,
        Func<SiteService, int, string, SiteChange, string, CancellationToken, Task<Site>> act
    )
    {
        var code = new Argument<string>("CODE") { Description = "The site's code" };
        var name = new Option<string?>("--name") { Description = "The school's name", Required = required };
        var barcode = new Option<string?>("--next-barcode")
        {
            Description = "The barcode that the next new patron gets; ends in a digit",
            HelpName = "B",
        };
        var policy = new Option<string?>("--policy")
        {
            Description = "The policy of new patrons, up to 4 characters; blank takes it away",
            HelpName = "P",
        };
        var group = new Option<string?>("--group")
        {
            Description = "The security group of new patrons: Patron or \"Patron Limited\"",
            HelpName = "G",
        };
        var role = new Option<string?>("--role-group")
        {
            Description = "Set barcode, policy and group for these new patrons alone: student, teacher or admin",
            HelpName = "R",
        };
        var command = new Command(verb, description) { code, name, barcode, policy, group, role };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                var change = new SiteChange(
                    result.GetValue(name),
                    result.GetValue(barcode),
                    result.GetValue(policy),
                    result.GetValue(group),
                    result.GetValue(role) is { } text ? Arguments.RoleGroup(text) : null
                );
                if (change is { Name: null, NextBarcode: null, Policy: null, Group: null })
                {
                    throw new UsageException("Say what to change: --name, --next-barcode, --policy or --group.");
                }

                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var sites = session.Get<SiteService>();
                var site = await act(sites, district.Id, result.GetRequiredValue(code), change, session.Actor.Name, cancellationToken);
                var row = Of(site, await sites.DefaultsAsync(district.Id, cancellationToken));
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, row);
                }
                else
                {
                    var own = row.RoleGroups.FirstOrDefault(r =>
                        change.RoleGroup is not null && r.RoleGroup == Arguments.Word(change.RoleGroup.Value)
                    );
                    await terminal.Out.WriteLineAsync(
                        own is null
                            ? $"Site {row.Code}, {row.Name}: next barcode {row.NextBarcode}, policy {row.Policy}, group {row.Group}."
                            : $"Site {row.Code}, {row.Name}, for {own.RoleGroup}s: next barcode {own.NextBarcode ?? row.NextBarcode}, policy {own.Policy ?? row.Policy}, group {own.Group ?? row.Group}."
                    );
                }
            }
        );
        return command;
    }

    private static Command List(Terminal terminal)
    {
        var command = new Command("list", "Show all sites");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session.DistrictAsync(cancellationToken);
                var sites = session.Get<SiteService>();
                var defaults = await sites.DefaultsAsync(district.Id, cancellationToken);
                var rows = (await sites.ListAsync(district.Id, cancellationToken)).Select(s => Of(s, defaults)).ToList();
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(terminal, rows, cancellationToken);
                }
                else if (rows.Count == 0)
                {
                    await terminal.Out.WriteLineAsync(
                        $"District {district.Code} has no site yet. Add one: rollcall site add CODE --name NAME"
                    );
                }
                else
                {
                    terminal.WriteTable(
                        ["Code", "Name", "GUID", "Next barcode", "Policy", "Group"],
                        rows.SelectMany(r =>
                            r.RoleGroups.Select(g => (string?[])["", $"  {g.RoleGroup}s", "", g.NextBarcode, g.Policy, g.Group])
                                .Prepend([r.Code, r.Name, r.Guid, r.NextBarcode, r.Policy, r.Group])
                        )
                    );
                }
            }
        );
        return command;
    }

    private static Row Of(Site site, IReadOnlyList<SiteDefault> defaults) =>
        new(
            site.Code,
            site.Name,
            site.Guid,
            site.NextBarcode,
            site.DefaultPolicy ?? Policy.Standard,
            PatronFields.GroupWord(site.DefaultGroup),
            [
                .. defaults
                    .Where(d => d.SiteId == site.Id)
                    .OrderBy(d => d.RoleGroup)
                    .Select(d => new RoleRow(
                        Arguments.Word(d.RoleGroup),
                        d.NextBarcode,
                        d.Policy,
                        d.Group is { } group ? PatronFields.GroupWord(group) : null
                    )),
            ]
        );
}
