using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages;

/// <summary>For somebody who belongs to no district, and for the operator: the districts there are.</summary>
internal sealed class WelcomeModel(
    Here here,
    DistrictService districts,
    TenantRequests requests,
    Accounts accounts,
    AccountDesk desk,
    AccessTokens tokens,
    AuditLog audit,
    IntegrationService integrations
) : PageModel
{
    public Here Here { get; } = here;

    /// <summary>All of the installation, for the operator; empty for others.</summary>
    public IReadOnlyList<District> All { get; private set; } = [];

    /// <summary>The ClassLink tenants that each may use, by its id.</summary>
    public ILookup<int, string> Tenants { get; private set; } = Array.Empty<int>().ToLookup(i => i, _ => "");

    /// <summary>How many access tokens the visitor made in each district that serve still.</summary>
    public IReadOnlyDictionary<int, int> Tokens { get; private set; } = new Dictionary<int, int>();

    /// <summary>What the visitor is in a district.</summary>
    public string GroupIn(int districtId) =>
        PatronFields.GroupWord(
            Here.Who?.Grants.FirstOrDefault(g => g.DistrictId == districtId)?.Group ?? SecurityGroup.DistrictAdministrator
        );

    /// <summary>Districts that wait for a tenant to be allowed, and which.</summary>
    public IReadOnlyList<(District District, TenantRequest Request)> Asking { get; private set; } = [];

    /// <summary>The installation's ClassLink partner key is kept already.</summary>
    public bool HasPartnerKey { get; private set; }

    /// <summary>The newest lines of the audit that are of no district.</summary>
    public IReadOnlyList<AuditEntry> Lines { get; private set; } = [];
    public const int MostLines = 100;

    public string? Refused { get; private set; }
    public string? Code { get; private set; }
    public string? Name { get; private set; }
    public string? TimeZone { get; private set; }

    public async Task<IActionResult> OnGetAsync()
    {
        if (Here.Who is { LacksFactor: true } || (!Here.May(Need.Operator) && Here.Grant is not null))
        {
            return LocalRedirect(Here.Home);
        }

        await LoadAsync();
        return Page();
    }

    /// <summary>Adds a district; whoever adds it administers it until somebody else does.</summary>
    public async Task<IActionResult> OnPostDistrictAsync(string? code, string? name, string? timeZone)
    {
        (Code, Name, TimeZone) = (code, name, timeZone);
        try
        {
            var zone = string.IsNullOrWhiteSpace(timeZone) ? null : timeZone;
            var district = await districts.AddAsync(code ?? "", name ?? "", zone, Here.Who!.Name, HttpContext.RequestAborted);
            await accounts.EnterAsync(Here.Who!, district.Id, HttpContext.RequestAborted);
            return LocalRedirect($"/?district={Uri.EscapeDataString(district.Code)}");
        }
        catch (RollcallException e)
        {
            Refused = e.Message;
            await LoadAsync();
            return Page();
        }
    }

    public async Task<IActionResult> OnPostEnterAsync(string? district)
    {
        var chosen = (await districts.ListAsync(HttpContext.RequestAborted)).FirstOrDefault(d => d.Code == district);
        if (chosen is null)
        {
            return NotFound();
        }

        await accounts.EnterAsync(Here.Who!, chosen.Id, HttpContext.RequestAborted);
        return LocalRedirect($"/?district={Uri.EscapeDataString(chosen.Code)}");
    }

    public Task<IActionResult> OnPostLeaveAsync(string? district) =>
        TryAsync(async () =>
        {
            var chosen = await districts.ResolveAsync(district ?? "", HttpContext.RequestAborted);
            var group = GroupIn(chosen.Id);
            await desk.LeaveAsync(chosen, Here.Who!, HttpContext.RequestAborted);
            return $"You are {group} of {chosen.Name} no more.";
        });

    /// <summary>Lets a district use a ClassLink tenant, as it asked for.</summary>
    public Task<IActionResult> OnPostTenantAsync(string? district, string? tenantId) =>
        TryAsync(async () =>
        {
            var chosen = await districts.ResolveAsync(district ?? "", HttpContext.RequestAborted);
            await districts.AllowTenantAsync(chosen, tenantId ?? "", Here.Who!.Name, HttpContext.RequestAborted);
            return $"{chosen.Name} may connect to tenant {tenantId}.";
        });

    /// <summary>Takes back a tenant that the wrong district was given.</summary>
    /// <param name="held">The district's code and the tenant's number: since the page was opened it may be another district's.</param>
    public Task<IActionResult> OnPostTakeBackAsync(string? held) =>
        TryAsync(async () =>
        {
            var at = held?.LastIndexOf(':') ?? -1;
            if (at < 0)
            {
                throw new RollcallException("Choose the tenant that is to be taken back.");
            }

            var tenantId = held![(at + 1)..];
            var holder = await districts.ResolveAsync(held[..at], HttpContext.RequestAborted);
            if (!(await districts.TenantsAsync(HttpContext.RequestAborted))[holder.Id].Contains(tenantId))
            {
                throw new RollcallException($"{holder.Name} is not allowed tenant {tenantId}: it has been taken back already.");
            }

            await districts.DisallowTenantAsync(holder, tenantId, Here.Who!.Name, HttpContext.RequestAborted);
            return $"{holder.Name} may connect to tenant {tenantId} no more.";
        });

    /// <summary>The district does not get what it asked for. Nothing else changes: it may ask again.</summary>
    public Task<IActionResult> OnPostRefuseAsync(string? district) =>
        TryAsync(async () =>
        {
            var chosen = await districts.ResolveAsync(district ?? "", HttpContext.RequestAborted);
            await requests.RefuseAsync(chosen.Id, Here.Who!.Name, HttpContext.RequestAborted);
            return $"What {chosen.Name} asked for is put aside.";
        });

    public Task<IActionResult> OnPostPartnerKeyAsync(string? key) =>
        TryAsync(async () =>
        {
            await integrations.StorePartnerKeyAsync(key ?? "", Here.Who!.Name, HttpContext.RequestAborted);
            return "The partner key is kept. Districts connect with it from now on.";
        });

    public Task<IActionResult> OnPostForgetKeyAsync() =>
        TryAsync(async () =>
        {
            await integrations.RemovePartnerKeyAsync(Here.Who!.Name, HttpContext.RequestAborted);
            return "The partner key is removed. Districts that connected with it do so no more.";
        });

    private async Task<IActionResult> TryAsync(Func<Task<string>> act)
    {
        try
        {
            TempData["Said"] = await act();
            return LocalRedirect("/welcome");
        }
        catch (RollcallException e)
        {
            Refused = e.Message;
            await LoadAsync();
            return Page();
        }
    }

    private async Task LoadAsync()
    {
        if (Here.May(Need.Operator))
        {
            All = await districts.ListAsync(HttpContext.RequestAborted);
            Tenants = await districts.TenantsAsync(HttpContext.RequestAborted);
            Asking = [.. (await requests.ListAsync(HttpContext.RequestAborted)).Join(All, r => r.DistrictId, d => d.Id, (r, d) => (d, r))];
            Tokens = Here.Who is { AccountId: { } account } ? await tokens.OfAccountAsync(account, HttpContext.RequestAborted) : Tokens;
            Lines = await audit.OfInstallationAsync(MostLines, HttpContext.RequestAborted);
            HasPartnerKey = await integrations.HasPartnerKeyAsync(HttpContext.RequestAborted);
        }
    }
}
