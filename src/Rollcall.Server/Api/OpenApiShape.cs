using System.Globalization;
using System.Net.Mime;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;
using Rollcall.SignIn;

namespace Rollcall.Server.Api;

/// <summary>The OpenAPI document of the REST API: made from the routes, completed with what they do not say themselves.</summary>
internal static class OpenApiShape
{
    public static void Add(IServiceCollection services) =>
        services.AddOpenApi(
            ApiRoutes.Version,
            options =>
            {
                options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_0;
                options.ShouldInclude = description => description.RelativePath?.StartsWith("api/", StringComparison.Ordinal) == true;
                options.CreateSchemaReferenceId = info =>
                    info.Type == typeof(PatronDocument) ? "Patron"
                    : info.Type == typeof(SavedPatron) ? nameof(SavedPatron)
                    : OpenApiOptions.CreateDefaultSchemaReferenceId(info);
                options.AddDocumentTransformer(
                    (document, _, _) =>
                    {
                        document.Info = new OpenApiInfo
                        {
                            Title = "Rollcall",
                            Version = ApiRoutes.Version,
                            Description = "Keeps a library's patron records in step with a district's roster.",
                        };

                        // Where the server stands is the reader's to know; the document is the same everywhere.
                        document.Servers = [];
                        document.Tags = null;
                        document.Components ??= new OpenApiComponents();
                        document.Components.SecuritySchemes ??= new Dictionary<string, IOpenApiSecurityScheme>();
                        document.Components.SecuritySchemes["token"] = new OpenApiSecurityScheme
                        {
                            Type = SecuritySchemeType.Http,
                            Scheme = "bearer",
                            Description = "An access token: Preferences, Access Tokens, or rollcall token create.",
                        };
                        foreach (var schema in document.Components.Schemas?.Values.OfType<OpenApiSchema>() ?? [])
                        {
                            SayNullable(schema);
                        }

                        return Task.CompletedTask;
                    }
                );
                options.AddOperationTransformer(OperationAsync);
                options.AddSchemaTransformer(SchemaAsync);
            }
        );

    /// <summary>What may be null or of a type of its own is said as version 3.0 says it: generators of clients know no other way.</summary>
    private static void SayNullable(OpenApiSchema schema)
    {
        foreach (var (name, property) in schema.Properties?.ToList() ?? [])
        {
            if (
                property is OpenApiSchema { OneOf: { Count: 2 } either }
                && either.FirstOrDefault(e => e is OpenApiSchemaReference) is { } reference
                && either.Any(e => e is OpenApiSchema { Type: JsonSchemaType.Null })
            )
            {
                schema.Properties![name] = new OpenApiSchema { Type = JsonSchemaType.Object | JsonSchemaType.Null, AllOf = [reference] };
            }
        }
    }

    /// <summary>Serves the document.</summary>
    public static async Task SendAsync(HttpContext http)
    {
        var provider = http.RequestServices.GetRequiredKeyedService<IOpenApiDocumentProvider>(ApiRoutes.Version);
        var document = await provider.GetOpenApiDocumentAsync(http.RequestAborted);
        http.Response.ContentType = MediaTypeNames.Application.Json;
        await http.Response.WriteAsync(
            await document.SerializeAsJsonAsync(OpenApiSpecVersion.OpenApi3_0, http.RequestAborted),
            http.RequestAborted
        );
    }

    private static async Task OperationAsync(
        OpenApiOperation operation,
        OpenApiOperationTransformerContext context,
        CancellationToken cancellationToken
    )
    {
        var route = Listed($"/{context.Description.RelativePath} {Verb(context.Description.HttpMethod)}");
        var endpoint = context.Description.ActionDescriptor.EndpointMetadata;
        operation.Tags = new HashSet<OpenApiTagReference> { new(context.Description.RelativePath!.Split('/')[2], context.Document) };
        var need = Access.Of(route);
        if (need is not (null or Need.Anyone))
        {
            operation.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference("token", context.Document)] = [] }];
            var scope = Access.ScopeOf(route) ?? TokenScopes.None;
            operation.Description =
                scope == TokenScopes.None
                    ? "Needs a token."
                    : $"Needs {(scope == AccessTokens.AllOfDistrict ? "every scope of a district" : $"the scope {string.Join(", ", AccessTokens.WordsOf(scope))}")}{(Access.Group(need.Value) is { } group ? $" and the group {PatronFields.GroupWord(group)}" : "")}.";
        }

        if (endpoint.OfType<StartsSomething>().Any())
        {
            operation.Parameters ??= [];
            operation.Parameters.Add(
                new OpenApiParameter
                {
                    Name = "Idempotency-Key",
                    In = ParameterLocation.Header,
                    Required = false,
                    Description = "Sent again with the same key within a day, the request starts nothing and gets the first answer.",
                    Schema = new OpenApiSchema { Type = JsonSchemaType.String, MaxLength = ApiGate.LongestKey },
                }
            );
        }

        var problem = await context.GetOrCreateSchemaAsync(typeof(ApiProblem), null, cancellationToken);
        context.Document!.AddComponent("ApiProblem", problem);
        operation.Responses ??= [];
        operation.Responses["default"] = new OpenApiResponse
        {
            Description = "What is wrong, in one sentence that says what to do.",
            Content = new Dictionary<string, OpenApiMediaType>
            {
                ["application/problem+json"] = new() { Schema = new OpenApiSchemaReference("ApiProblem", context.Document) },
            },
        };
    }

    /// <summary>The route as the table has it: descriptions leave constraints of parameters out.</summary>
    private static string Listed(string route) =>
        Access.Routes.FirstOrDefault(r =>
            string.Equals(
                r.Replace(":long", "", StringComparison.Ordinal).Replace(":int", "", StringComparison.Ordinal),
                route,
                StringComparison.Ordinal
            )
        ) ?? route;

    private static string Verb(string? method) => CultureInfo.InvariantCulture.TextInfo.ToTitleCase((method ?? "get").ToLowerInvariant());

    private static Task SchemaAsync(OpenApiSchema schema, OpenApiSchemaTransformerContext context, CancellationToken cancellationToken)
    {
        var type = context.JsonTypeInfo.Type;
        if (type == typeof(PatronDocument) || type == typeof(SavedPatron))
        {
            schema.Type = JsonSchemaType.Object;
            schema.AdditionalPropertiesAllowed = false;
            schema.AdditionalProperties = null;
            schema.Properties = new Dictionary<string, IOpenApiSchema>(StringComparer.Ordinal);
            foreach (var field in PatronFields.All)
            {
                schema.Properties[field.Name] = new OpenApiSchema
                {
                    Type =
                        field.Number == PatronFields.DoNotTransfer ? JsonSchemaType.Boolean
                        : field.Number is PatronFields.Barcode or PatronFields.LastName or PatronFields.Status or PatronFields.Group
                            ? JsonSchemaType.String
                        : JsonSchemaType.String | JsonSchemaType.Null,
                    Description = field.Label,
                };
            }

            schema.Properties["linked"] = new OpenApiSchema
            {
                Type = JsonSchemaType.Boolean,
                Description = "There is a roster person for it",
            };
            schema.Properties["roleGroup"] = new OpenApiSchema { Type = JsonSchemaType.String | JsonSchemaType.Null };
            schema.Properties["aliases"] = new OpenApiSchema
            {
                Type = JsonSchemaType.Array,
                Items = new OpenApiSchema { Type = JsonSchemaType.String },
                Description = "Further sourcedIds of the same person",
            };
            foreach (var name in (string[])["createdAt", "updatedAt"])
            {
                schema.Properties[name] = new OpenApiSchema { Type = JsonSchemaType.String, Format = "date-time" };
            }

            schema.Properties["version"] = new OpenApiSchema
            {
                Type = JsonSchemaType.String,
                Description = "Another one after each change; give it to change whom you have seen, as you have seen them",
            };
            if (type == typeof(SavedPatron))
            {
                schema.Properties["warnings"] = new OpenApiSchema
                {
                    Type = JsonSchemaType.Array,
                    Items = new OpenApiSchema { Type = JsonSchemaType.String },
                    Description = "What to look at, in a sentence each; the patron is written all the same",
                };
            }

            schema.Required = schema.Properties.Keys.ToHashSet(StringComparer.Ordinal);
        }
        else if (type == typeof(DateTimeOffset) || type == typeof(DateTimeOffset?))
        {
            schema.Type = type == typeof(DateTimeOffset) ? JsonSchemaType.String : JsonSchemaType.String | JsonSchemaType.Null;
            schema.Format = "date-time";
        }
        else if (schema.Pattern is not null)
        {
            // Numbers are sent as numbers; that a text would be read too is nobody's business.
            schema.Pattern = null;
            schema.Type &= ~JsonSchemaType.String;
        }

        return Task.CompletedTask;
    }
}
