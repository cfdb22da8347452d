using System.CommandLine;
using Rollcall.Districts;

namespace Rollcall.Server.Commands;

/// <summary><c>rollcall district</c>.</summary>
internal static class DistrictCommands
{
    private sealed record Row(
        string Code,
        string Name,
        string TimeZone,
        DateTimeOffset CreatedAt,
        IReadOnlyList<string> Tenants,
        string? AsksForTenant
    );

    private sealed record Allowed(string District, string TenantId);

    public static Command Build(Terminal terminal) =>
        new("district", "Districts of this installation")
        {
            Add(terminal),
            List(terminal),
            AllowTenant(terminal),
            DisallowTenant(terminal),
        };

    private static Command Add(Terminal terminal)
    {
        var code = new Argument<string>("CODE") { Description = "1 to 32 letters, digits, '-', '_' and '.'" };
        var name = new Option<string>("--name") { Description = "What the district is called", Required = true };
        var zone = new Option<string?>("--time-zone") { Description = "Such as America/New_York. Without it: UTC", HelpName = "TZ" };
        var command = new Command("add", "Add a district") { code, name, zone };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var district = await session
                    .Get<DistrictService>()
                    .AddAsync(
                        result.GetRequiredValue(code),
                        result.GetRequiredValue(name),
                        result.GetValue(zone),
                        session.Actor.Name,
                        cancellationToken
                    );
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, Of(district, [], null));
                }
                else
                {
                    await terminal.Out.WriteLineAsync(
                        $"District {district.Code}, {district.Name}, is added. Its clock is {district.TimeZone}."
                    );
                }
            }
        );
        return command;
    }

    private static Command List(Terminal terminal)
    {
        var command = new Command("list", "Show all districts");
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var districts = await session.Get<DistrictService>().ListAsync(cancellationToken);
                var tenants = await session.Get<DistrictService>().TenantsAsync(cancellationToken);
                var asked = (await session.Get<TenantRequests>().ListAsync(cancellationToken)).ToDictionary(
                    r => r.DistrictId,
                    r => r.TenantId
                );
                if (session.Json)
                {
                    await JsonText.WriteArrayAsync(
                        terminal,
                        districts.Select(d => Of(d, [.. tenants[d.Id]], asked.GetValueOrDefault(d.Id))),
                        cancellationToken
                    );
                }
                else if (districts.Count == 0)
                {
                    await terminal.Out.WriteLineAsync("There is no district yet. Add one: rollcall district add CODE --name NAME");
                }
                else
                {
                    terminal.WriteTable(
                        ["Code", "Name", "Time zone", "ClassLink tenants"],
                        districts.Select(d =>
                            (string?[])
                                [
                                    d.Code,
                                    d.Name,
                                    d.TimeZone,
                                    string.Join(
                                        ", ",
                                        asked.TryGetValue(d.Id, out var wanted) ? tenants[d.Id].Append($"asks for {wanted}") : tenants[d.Id]
                                    ),
                                ]
                        )
                    );
                }
            }
        );
        return command;
    }

    private static Command AllowTenant(Terminal terminal)
    {
        var code = new Argument<string>("CODE") { Description = "The district" };
        var tenant = new Argument<string>("TENANT-ID") { Description = "ClassLink's number of the district" };
        var command = new Command("allow-tenant", "Let a district use a ClassLink tenant") { code, tenant };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var districts = session.Get<DistrictService>();
                var district = await districts.ResolveAsync(result.GetRequiredValue(code), cancellationToken);
                await districts.AllowTenantAsync(district, result.GetRequiredValue(tenant), session.Actor.Name, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Allowed(district.Code, result.GetRequiredValue(tenant).Trim()));
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"District {district.Code} may use tenant {result.GetRequiredValue(tenant).Trim()}.");
                }
            }
        );
        return command;
    }

    private static Command DisallowTenant(Terminal terminal)
    {
        var code = new Argument<string>("CODE") { Description = "The district" };
        var tenant = new Argument<string>("TENANT-ID") { Description = "The tenant that it was allowed" };
        var command = new Command("disallow-tenant", "Take a ClassLink tenant back from a district that is not connected with it")
        {
            code,
            tenant,
        };
        command.SetAction(
            async (result, cancellationToken) =>
            {
                await using var session = await Session.OpenAsync(result, terminal, cancellationToken);
                var districts = session.Get<DistrictService>();
                var district = await districts.ResolveAsync(result.GetRequiredValue(code), cancellationToken);
                var taken = result.GetRequiredValue(tenant).Trim();
                await districts.DisallowTenantAsync(district, taken, session.Actor.Name, cancellationToken);
                if (session.Json)
                {
                    await JsonText.WriteAsync(terminal, new Allowed(district.Code, taken));
                }
                else
                {
                    await terminal.Out.WriteLineAsync($"District {district.Code} may use tenant {taken} no more.");
                }
            }
        );
        return command;
    }

    private static Row Of(District district, IReadOnlyList<string> tenants, string? asksFor) =>
        new(district.Code, district.Name, district.TimeZone, district.CreatedAt, tenants, asksFor);
}
